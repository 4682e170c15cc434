"""The outermost layer: each request's id, its line in the log, its count, and what nobody else caught."""

from __future__ import annotations

import re
import time
from random import getrandbits

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.problems import answer

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
log = structlog.get_logger("service")


def chosen_id(asked: str | None) -> str:
    """The caller's own request id if it is a harmless one, else a new one."""
    if asked and _ACCEPTABLE.fullmatch(asked):
        return asked
    # No secret: it only has to be another one each time.
    return f"{getrandbits(128):032x}"


class RequestIds:
    """ASGI middleware: `X-Request-ID` in, out, and in every line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = chosen_id(headers.get(b"x-request-id", b"").decode("latin-1") or None)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, sending)
            except Exception as error:
                log.exception("request failed", method=scope["method"], path=scope["path"])
                if status:
                    raise
                await answer(scope, error)(scope, receive, sending)
            finally:
                seconds = time.monotonic() - began
                route = getattr(scope.get("route"), "path", None) or "(none)"
                metrics.requests.labels(scope["method"], route, str(status)).inc()
                metrics.request_seconds.labels(scope["method"], route).observe(seconds)
                quiet = scope["path"].startswith(("/health", "/metrics"))
                (log.debug if quiet else log.info)(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    milliseconds=round(seconds * 1000, 2),
                )
