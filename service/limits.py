"""What a request may weigh and how many there may be at once."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.errors import BodyTooLarge, Busy
from service.problems import answer
from service.settings import ServiceSettings

UPLOAD_PATH = "/v1/datasets"
JSON_BULK = (
    "Send large inputs in portions, as application/x-npy (far smaller than JSON), or upload them as a "
    "dataset with POST /v1/datasets."
)
UNCOUNTED = ("/health", "/v2/health", "/metrics")
_UPLOAD_BULK = "Split the data, or let the operator raise HOURGLASS_UPLOAD_LIMIT_BYTES."


class _TooMany(Exception):  # a signal between two closures below, not an error of anybody's
    """More bytes came than the limit allows."""


class BodyLimit:
    """ASGI middleware that counts the bytes of a body as they come, whatever `Content-Length` says."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self._limit, self._upload_limit = settings.body_limit_bytes, settings.upload_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = scope["path"] == UPLOAD_PATH
        limit, bulk = (self._upload_limit, _UPLOAD_BULK) if upload else (self._limit, JSON_BULK)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await self._refuse(
                scope, receive, send, BodyTooLarge(limit, int(declared), counted=False, bulk=bulk)
            )
            return
        await self._count(scope, receive, send, limit, bulk)

    async def _count(self, scope: Scope, receive: Receive, send: Send, limit: int, bulk: str) -> None:
        seen, started = 0, False

        async def receiving() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _TooMany
            return message

        async def sending(message: Message) -> None:
            nonlocal started
            # Whatever the application makes of a body that was cut off, the caller hears the true reason.
            if seen > limit and not started:
                raise _TooMany
            started = True
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        except _TooMany:
            if started:
                raise
            await self._refuse(scope, receive, send, BodyTooLarge(limit, seen, counted=True, bulk=bulk))

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: BodyTooLarge) -> None:
        metrics.refused.labels("size").inc()
        await answer(scope, error)(scope, receive, send)


class Ceiling:
    """How many requests are being answered, and how many may be; entered for as long as one is.

    Args:
        most: at once.
    """

    __slots__ = ("_most", "now")

    def __init__(self, most: int) -> None:
        self._most, self.now = most, 0
        metrics.in_flight.set_function(lambda: self.now)

    @property
    def is_reached(self) -> bool:
        """Whether one more would be refused."""
        return self.now >= self._most

    def __enter__(self) -> None:
        if self.is_reached:
            metrics.refused.labels("in_flight").inc()
            raise Busy(f"{self._most} requests are being answered; try again")
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1


class InFlight:
    """ASGI middleware: a ceiling on requests at once; health and event streams do not count."""

    def __init__(self, app: ASGIApp, ceiling: Ceiling) -> None:
        self.app = app
        self._ceiling = ceiling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path.startswith(UNCOUNTED) or path.endswith("/events"):
            await self.app(scope, receive, send)
            return
        try:
            self._ceiling.__enter__()
        except Busy as error:
            await answer(scope, error)(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self._ceiling.__exit__()
