"""create_app: the gateway's lifespan, middleware and routes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service import openapi, problems
from service.auth import Gatekeeper, Guard
from service.errors import SettingsRefused
from service.gateway import Gateway
from service.limits import BodyLimit, Ceiling, InFlight
from service.request_ids import RequestIds
from service.routes import (
    catalog,
    datasets,
    diagnoses,
    embeddings,
    events,
    exports,
    health,
    inference,
    inference_v2,
    jobs,
    keys,
    models,
    repository_v2,
    studies,
    thresholds,
    workers,
)
from service.settings import ServiceSettings
from service.shortcut import Shortcut
from service.stream import end
from store import Caretaker, Store, logs

VERSION = "0.1.0"
_ROUTES = (
    health,
    catalog,
    datasets,
    jobs,
    events,
    studies,
    diagnoses,
    models,
    exports,
    embeddings,
    inference,
    thresholds,
    inference_v2,
    repository_v2,
    workers,
    keys,
)


class Application(FastAPI):
    """The gateway's application: inference takes the short way, everything else the framework's."""

    shortcut: Shortcut
    prefix: str = ""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # The server's own layer for what proxies say of a caller; what goes the short way asks nothing of it.
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        # uvicorn has names of its own for the same messages.
        ordinary: Any = ProxyHeadersMiddleware
        self._ordinary: ASGIApp = ordinary(super().__call__, trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (prefix := self.prefix or scope["root_path"]):
            # Proxies cut their prefix off or send it on; behind here paths are without it.
            bare = (
                scope["path"].removeprefix(prefix)
                if scope["path"].startswith(f"{prefix}/")
                else scope["path"]
            )
            scope, send = {**scope, "root_path": prefix, "path": bare}, _from_outside(prefix, send)
        found = self.shortcut.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._ordinary(scope, receive, send)
        else:
            await self.shortcut.serve(*found, scope, receive, send)


def _from_outside(prefix: str, send: Send) -> Send:
    """Send on, with places of this service (`Location`) as whoever stands before the proxy reaches them."""
    before = prefix.encode()

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name, before + value if name == b"location" and value.startswith(b"/") else value)
                for name, value in message.get("headers", ())
            ]
            message = {**message, "headers": headers}
        await send(message)

    return sent


def create_app(settings: ServiceSettings) -> Application:
    """The gateway, ready to be served.

    Raises:
        SettingsRefused: it may not listen there without a key, or the database is not migrated.
    """
    refuse_bad_start(settings)
    return assemble(settings)


def refuse_bad_start(settings: ServiceSettings) -> None:
    """Open the store once to see whether this gateway may start.

    Raises:
        SettingsRefused: with one line that says what to do.
    """
    store = Store.open(settings)
    try:
        wrong = {part: what for part, what in store.parts().items() if what is not None and part != "broker"}
        for part, what in wrong.items():
            raise SettingsRefused(f"HOURGLASS_{part.upper()}_URL: {what}")
        Gatekeeper(store, settings).refuse_unsafe_start(settings.host)
    finally:
        store.close()


def assemble(settings: ServiceSettings) -> Application:
    """The application with its routes; the store is opened when it is served."""
    app = Application(
        title="Hourglass",
        version=VERSION,
        summary="Trains autoencoders and serves them.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings, app.prefix = settings, settings.root_path
    ceiling = Ceiling(settings.requests_in_flight)
    app.shortcut = Shortcut(ceiling, settings.body_limit_bytes)
    problems.install(app)
    for room in _ROUTES:
        app.include_router(room.router)
    openapi.install(app)
    _serve_docs(app)
    # The last one added is the outermost: an id for everything, then who asks, then how much.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(InFlight, ceiling=ceiling)
    app.add_middleware(Guard)
    app.add_middleware(RequestIds)
    return app


@asynccontextmanager
async def _lifespan(app: Application) -> AsyncIterator[None]:
    settings: ServiceSettings = app.state.settings
    logs.configure(settings, "gateway")
    store = await asyncio.to_thread(Store.open, settings)
    gateway = Gateway.open(settings, store)
    app.state.gateway = app.shortcut.gateway = gateway
    caretaker = Caretaker(store)
    caretaker.start()
    tailer = asyncio.create_task(gateway.tailer.run())
    telling = asyncio.create_task(gateway.siblings.run())
    try:
        with _long_answers_end_on_signals(gateway):
            yield
    finally:
        gateway.tailer.close()
        await end(tailer)
        await end(telling)
        gateway.siblings.write()
        await asyncio.to_thread(caretaker.stop)
        await asyncio.to_thread(gateway.close)
        await asyncio.to_thread(store.close)


@contextmanager
def _long_answers_end_on_signals(gateway: Gateway) -> Iterator[None]:
    """A server that was told to end waits for its connections first: what takes long must not keep it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ending(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(gateway.end_what_lasts)
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    for number, earlier in before.items():
        if callable(earlier):
            signal.signal(number, ending)
    try:
        yield
    finally:
        for number, earlier in before.items():
            if callable(earlier):
                signal.signal(number, earlier)


def _serve_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        url: Any = request.scope.get("root_path", "") + "/openapi.json"
        return get_swagger_ui_html(openapi_url=url, title="Hourglass")
