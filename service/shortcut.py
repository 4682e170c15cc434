"""The short way of inference: from the server's hand to the engine past all that it does not need.

Everything that other requests meet one layer after the other (an id, a key and its scope, the ceiling, the
size of a body, problems, the counts) is met here too, at once: routing, dependencies and six layers of
middleware take longer than the forward pass of a small model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sized
from functools import cached_property, partial
from typing import get_args

import structlog
from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from service import metrics
from service.direct import Direct, Target
from service.errors import BodyTooLarge, NotAllowed
from service.gateway import Gateway
from service.limits import JSON_BULK, Ceiling
from service.problems import answer, kind_of
from service.request_ids import chosen_id
from service.routes import inference, inference_v2
from service.routes.answered import Answered, Parts, Sent, T
from service.routes.inference_arriving import LARGE_BYTES
from service.sending import ANSWERING, sent_whole
from service.serving.engine import Action
from service.serving.errors import ClientGone
from service.tallies import Spread, Tally
from service.turns import Turns

PREFIX, PROTOCOL_PREFIX = "/v1/models/", "/v2/models/"
_ACTIONS: dict[str, Action] = {action: action for action in get_args(Action)}
_ROUTES: dict[Action, str] = {action: f"{PREFIX}{{name}}/{action}" for action in _ACTIONS.values()}
_PROTOCOL_ROUTES = (
    f"{PROTOCOL_PREFIX}{{name}}/infer",
    f"{PROTOCOL_PREFIX}{{name}}/versions/{{version}}/infer",
)
Way = Callable[..., Awaitable[Answered]]
_GONE, _UNEXPECTED = 499, 500
log = structlog.get_logger("service")
_plain_log = logging.getLogger("service")


class Shortcut:
    """Serves `POST /v1/models/{name}/{action}` and `POST /v2/models/{name}[/versions/{version}]/infer`.

    Args:
        ceiling: on requests at once, the same as for all others.
        limit_bytes: of a body.
    """

    def __init__(self, ceiling: Ceiling, limit_bytes: int) -> None:
        self._ceiling, self._limit = ceiling, limit_bytes
        self._turns = Turns()
        self._series: dict[tuple[str, int], tuple[Tally, Spread]] = {}
        self._answering: Sized | None = None
        self.gateway: Gateway | None = None

    @cached_property
    def direct(self) -> Direct | None:
        """What answers plain requests without this way; None before the house is open."""
        if self.gateway is None:
            return None
        return Direct(
            self.gateway.engine,
            self.gateway.gatekeeper,
            find=_target,
            count=self._count,
            ceiling=self._ceiling,
            limit_bytes=min(self._limit, LARGE_BYTES),
        )

    def find(self, scope: Scope) -> tuple[str, Way] | None:
        """A request's route and what answers it, if it goes this way; what has a query does not."""
        if self.gateway is None or scope["method"] != "POST" or scope["query_string"]:
            return None
        path: str = get_route_path(scope) if scope["root_path"] else scope["path"]
        if (target := _target(path)) is not None:
            way = partial(inference.infer, self.gateway.engine, target.action, target.name)
            return target.route, way
        front, _, last = path.rpartition("/")
        if last == "infer" and path.startswith(PROTOCOL_PREFIX):
            name, versions, version = front[len(PROTOCOL_PREFIX) :].partition("/versions/")
            if not name or "/" in name or (versions and (not version or "/" in version or "@" in name)):
                return None
            reference = f"{name}@{version}" if versions else name
            route = _PROTOCOL_ROUTES[bool(versions)]
            return route, partial(inference_v2.infer, self.gateway.engine, reference)
        return None

    async def serve(self, route: str, way: Way, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""
        assert self.gateway is not None  # `find` looked
        began = time.perf_counter()
        sent: Sent = dict(scope["headers"])
        asked = sent.get(b"x-request-id")
        request_id = chosen_id(None if asked is None else asked.decode("latin-1"))
        identified = (b"x-request-id", request_id.encode())
        status, started = 200, False
        answering: Sized | None = scope.get("state", {}).get(ANSWERING)
        if answering is not self._answering:
            self._answering = answering
            self.gateway.engine.told(answering)
        try:
            key = sent.get(b"authorization")
            caller = None if key is None else self.gateway.gatekeeper.known(key)
            if caller is None:
                caller = await self.gateway.gatekeeper.caller(Headers(scope=scope))
            if not caller.may("infer"):
                raise NotAllowed("infer")
            with self._ceiling:
                answered = await self._answer(way, sent, receive)
            started = True
            headers = [*answered.headers, identified]
            if not sent_whole(send, headers, answered.content):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": answered.content})
        except ClientGone:
            status = _GONE
        except Exception as error:
            scope.setdefault("state", {})["request_id"] = request_id
            response = answer(scope, error)
            status = response.status_code
            if kind_of(error).status == _UNEXPECTED:
                log.exception("request failed", path=scope["path"], request_id=request_id)
            if started:
                raise
            response.raw_headers.append(identified)
            await response(scope, receive, send)
        finally:
            self._count(route, status, time.perf_counter() - began, scope["path"], request_id)

    async def _answer(self, way: Way, sent: Sent, receive: Receive) -> Answered:
        declared = sent.get(b"content-length", b"")
        size = int(declared) if declared.isdigit() else None
        if size is not None and size > self._limit:
            raise self._too_large(size, counted=False)

        async def read(
            parse: Callable[[Parts], Awaitable[T]], feed: Callable[[bytes], None] | None = None
        ) -> T:
            if size is not None and size < LARGE_BYTES:
                return await parse(await self._read(receive, feed))
            async with self._turns.one():
                return await parse(await self._read(receive, feed))

        return await way(sent, read, receive=receive)

    async def _read(self, receive: Receive, feed: Callable[[bytes], None] | None) -> Parts:
        parts: list[bytes] = []
        seen = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            seen += len(part)
            if seen > self._limit:
                raise self._too_large(seen, counted=True)
            parts.append(part)
            if feed is not None:
                feed(part)
            if not message.get("more_body", False):
                return parts

    def _too_large(self, size: int, *, counted: bool) -> BodyTooLarge:
        metrics.refused.labels("size").inc()
        return BodyTooLarge(self._limit, size, counted=counted, bulk=JSON_BULK)

    def _count(self, route: str, status: int, seconds: float, path: str, request_id: str) -> None:
        series = self._series.get((route, status))
        if series is None:
            series = (
                metrics.requests.labels("POST", route, str(status)),
                metrics.request_seconds.labels("POST", route),
            )
            self._series[route, status] = series
        series[0].inc()
        series[1].observe(seconds)
        # An answer is counted above; a line for each would cost as much as the answer itself.
        level = logging.DEBUG if status == 200 else logging.INFO
        if _plain_log.isEnabledFor(level):
            log.log(
                level,
                "request",
                method="POST",
                path=path,
                status=status,
                milliseconds=round(seconds * 1000, 2),
                request_id=request_id,
            )


def _target(path: str) -> Target | None:
    front, _, last = path.rpartition("/")
    action, name = _ACTIONS.get(last), front[len(PREFIX) :]
    if action is None or not path.startswith(PREFIX) or not name or "/" in name:
        return None
    return Target(path, _ROUTES[action], action, name)
