"""Who is asking: an API key becomes a caller with scopes, and without keys only this machine may ask."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import anyio.to_thread
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ForeignRequest, NotAuthenticated, SettingsRefused
from service.problems import answer
from service.settings import ServiceSettings, is_loopback
from store import Store
from store.keys import Keys

ScopeName = Literal["read", "train", "infer", "admin"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)
OPEN_PATHS = frozenset(
    {
        "/health/live",
        "/health/ready",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
    }
)
_REMEMBERED_SECONDS = 1.0
_ASKED_AGAIN_SECONDS = 0.5
_REMEMBERED_KEYS = 1024


class Caller(BaseModel):
    """Who a request is from, and what they may do."""

    model_config = ConfigDict(frozen=True)

    key: str | None
    scopes: frozenset[ScopeName]

    def may(self, scope: ScopeName) -> bool:
        """Whether the caller holds the scope; `admin` holds all."""
        return scope in self.scopes or "admin" in self.scopes


OWNER = Caller(key=None, scopes=frozenset(SCOPES))
ADMIN_BY_SETTING = Caller(key=None, scopes=frozenset(SCOPES))


class Gatekeeper:
    """Decides who a request is from; remembers what the database said for a second at most.

    A key in use never waits: the database is asked again before the second is over, once for all who use it.
    """

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._local = is_loopback(settings.host)
        self._open = settings.is_open
        self._admin = settings.admin_key.get_secret_value().encode() if settings.admin_key else None
        self._callers: dict[bytes, tuple[float, Caller | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._keyed: tuple[float, bool] = (0.0, False)

    def refuse_unsafe_start(self, host: str) -> None:
        """Refuse to listen beyond this machine while nobody needs a key.

        Raises:
            SettingsRefused: the address is not loopback, there is no key, and nobody said that this is meant.
        """
        if not (self._local or self._open or self.keys_exist()):
            raise SettingsRefused(
                f"HOURGLASS_HOST: {host} can be reached from outside and there is no key; "
                "set HOURGLASS_ADMIN_KEY, "
                "issue one with `hourglass keys issue --scope admin`, or set HOURGLASS_OPEN to "
                "'yes, anyone may use this service'"
            )

    def keys_exist(self) -> bool:
        """Whether a key was ever made: an expired or revoked last key does not open the door again."""
        known = self._known_keys()
        if known is None:
            now = time.monotonic()
            with self._store.session() as session:
                known = bool(Keys(session).page(limit=1).items)
            self._keyed = (now, known)
        return known

    def forget(self) -> None:
        """A key was made or revoked here: ask the database again at once."""
        # An answer that is on its way may be of before: it is not remembered.
        self._callers, self._asking = {}, {}
        self._keyed = (0.0, self._keyed[1])

    def known(self, authorization: bytes) -> Caller | None:
        """The caller of this `Authorization` header, where that is known without waiting."""
        checked, caller = self._callers.get(authorization, (0.0, None))
        age = time.monotonic() - checked
        if age > _ASKED_AGAIN_SECONDS:
            if age > _REMEMBERED_SECONDS:
                return None
            self._ask(authorization)
        return caller

    def unkeyed(self, sent: Mapping[bytes, bytes]) -> Caller | None:
        """The caller of a request with these headers and no key, where none is needed as far as is known."""
        if self._known_keys() is not False:
            return None
        if self._local:
            try:
                _refuse_foreign(Headers(raw=[*sent.items()]))
            except ForeignRequest:
                return None
        return OWNER

    async def caller(self, headers: Headers) -> Caller:
        """The caller of a request with these headers.

        Raises:
            NotAuthenticated: no key where one is needed, or a bad one.
            ForeignRequest: there are no keys, and the request does not come from this machine's own pages.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            key = authorization.encode("latin-1")
            return self.known(key) or await self._caller_of(key)
        known = self._known_keys()
        if known or (known is None and await anyio.to_thread.run_sync(self.keys_exist)):
            raise NotAuthenticated("send a key: `Authorization: Bearer <key>`")
        if self._local:
            _refuse_foreign(headers)
        return OWNER

    def _known_keys(self) -> bool | None:
        """Whether there is a key, where that is known without waiting; one that was made stays known."""
        checked, known = self._keyed
        if self._admin is not None or known:
            return True
        return False if checked and time.monotonic() - checked < _REMEMBERED_SECONDS else None

    async def _caller_of(self, authorization: bytes) -> Caller:
        checked, caller = self._callers.get(authorization, (0.0, None))
        if time.monotonic() - checked > _REMEMBERED_SECONDS:
            caller = await asyncio.shield(self._ask(authorization))
        if caller is None:
            raise NotAuthenticated("this key is unknown, expired or revoked")
        return caller

    def _ask(self, authorization: bytes) -> asyncio.Task[Caller | None]:
        """The one question to the database about this header, for all who wait for it."""
        task = self._asking.get(authorization)
        if task is None:
            secret = _bearer(authorization)
            task = asyncio.get_running_loop().create_task(self._learn(authorization, secret, self._asking))
            self._asking[authorization] = task
            task.add_done_callback(_seen)
        return task

    async def _learn(self, authorization: bytes, secret: str, asking: dict[bytes, Any]) -> Caller | None:
        asked = time.monotonic()
        try:
            caller = await anyio.to_thread.run_sync(self._look_up, secret)
        finally:
            asking.pop(authorization, None)
        if asking is self._asking:
            if len(self._callers) >= _REMEMBERED_KEYS:
                self._callers.clear()
            self._callers[authorization] = (asked, caller)
        return caller

    def _look_up(self, secret: str) -> Caller | None:
        if self._admin is not None and hmac.compare_digest(secret.encode(), self._admin):
            return ADMIN_BY_SETTING
        with self._store.session() as session:
            row = Keys(session).check(secret)
            if row is None:
                return None
            return Caller(key=row.id, scopes=frozenset(scope for scope in SCOPES if scope in row.scopes))


class Guard:
    """ASGI middleware: a stranger is told of health, metrics and the interface alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        gatekeeper: Gatekeeper = scope["app"].state.gateway.gatekeeper
        try:
            caller = await gatekeeper.caller(Headers(scope=scope))
        except (NotAuthenticated, ForeignRequest) as refusal:
            await answer(scope, refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)


def _bearer(authorization: bytes) -> str:
    scheme, _, secret = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated("the Authorization header must read `Bearer <key>`")
    return secret.strip()


def _seen(task: asyncio.Task[Caller | None]) -> None:
    """Have a failure that nobody waited for not be called forgotten."""
    if not task.cancelled():
        task.exception()


def _refuse_foreign(headers: Headers) -> None:
    """A web page must not reach a service without keys, by a name that resolves here or by a bare POST."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    if host is None or not is_loopback(host):
        raise ForeignRequest(f"without keys only Host names of this machine are served, not {host!r}")
    origin = headers.get("origin")
    if origin is not None and not is_loopback(urlsplit(origin).hostname or ""):
        raise ForeignRequest(f"without keys no page of {origin!r} may reach this service")
    if headers.get("sec-fetch-site") == "cross-site":
        raise ForeignRequest("without keys no page of another site may reach this service")
