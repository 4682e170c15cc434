"""Who is asking: an API key becomes a caller with scopes, and without keys only this machine may ask."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Literal, get_args
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
OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"})
_REMEMBERED_SECONDS = 1.0
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
    """Decides who a request is from; remembers what the database said for a second at most."""

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._local = is_loopback(settings.host)
        self._open = settings.is_open
        self._admin = settings.admin_key.get_secret_value().encode() if settings.admin_key else None
        self._callers: dict[bytes, tuple[float, Caller | None]] = {}
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
        if self._admin is not None:
            return True
        checked, known = self._keyed
        now = time.monotonic()
        if known or (checked and now - checked < _REMEMBERED_SECONDS):
            return known
        with self._store.session() as session:
            known = bool(Keys(session).page(limit=1).items)
        self._keyed = (now, known)
        return known

    def forget(self) -> None:
        """A key was made or revoked here: ask the database again at once."""
        self._callers.clear()
        self._keyed = (0.0, self._keyed[1])

    async def caller(self, headers: Headers) -> Caller:
        """The caller of a request with these headers.

        Raises:
            NotAuthenticated: no key where one is needed, or a bad one.
            ForeignRequest: there are no keys, and the request does not come from this machine's own pages.
        """
        secret = _bearer(headers)
        if secret is not None:
            return await self._caller_of(secret)
        if await self._known_keys():
            raise NotAuthenticated("send a key: `Authorization: Bearer <key>`")
        if self._local:
            _refuse_foreign(headers)
        return OWNER

    async def _known_keys(self) -> bool:
        checked, known = self._keyed
        if self._admin is not None or known or (checked and time.monotonic() - checked < _REMEMBERED_SECONDS):
            return known or self._admin is not None
        return await anyio.to_thread.run_sync(self.keys_exist)

    async def _caller_of(self, secret: str) -> Caller:
        if self._admin is not None and hmac.compare_digest(secret.encode(), self._admin):
            return ADMIN_BY_SETTING
        digest = hashlib.sha256(secret.encode()).digest()
        checked, caller = self._callers.get(digest, (0.0, None))
        if not checked or time.monotonic() - checked > _REMEMBERED_SECONDS:
            caller = await anyio.to_thread.run_sync(self._look_up, secret)
            if len(self._callers) >= _REMEMBERED_KEYS:
                self._callers.clear()
            self._callers[digest] = (time.monotonic(), caller)
        if caller is None:
            raise NotAuthenticated("this key is unknown, expired or revoked")
        return caller

    def _look_up(self, secret: str) -> Caller | None:
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


def _bearer(headers: Headers) -> str | None:
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, secret = value.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotAuthenticated("the Authorization header must read `Bearer <key>`")
    return secret.strip()


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
