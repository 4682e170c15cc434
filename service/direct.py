"""The plain case of inference, answered from the server's own callbacks: no task, no message, no coroutine.

A small body by a known caller for a model in memory is nearly every request, and for it all of that takes
longer than the forward pass. Whatever is not plain, and whatever goes wrong before the rows are on their way,
is left to the application (`service/shortcut.py`), which has the words for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from service.auth import Gatekeeper
from service.limits import Ceiling
from service.problems import answer, kind_of
from service.request_ids import chosen_id
from service.routes import inference
from service.routes.answered import Sent
from service.routes.inference import Plan
from service.serving import engine
from service.serving.arriving import Body
from service.serving.engine import Action, Engine
from service.serving.errors import BadTensor, ClientGone, NotAcceptable, Overloaded, UnknownFormat
from service.serving.forward import LoadedModel
from service.serving.lane import Arrays, Asked

_GONE, _UNEXPECTED = 499, 500
_UNUSUAL = frozenset((b"content-encoding", b"x-shape", b"expect", b"upgrade", b"transfer-encoding"))
# What is smaller comes as a whole.
_LARGE_BYTES = 64 * 1024
_REMEMBERED_TARGETS = 1024
_NOT_PLAIN = (BadTensor, UnknownFormat, NotAcceptable)
log = structlog.get_logger("service")


class Target(NamedTuple):
    """What a request's path says: the route it belongs to, what is asked for, and of which model."""

    path: str
    route: str
    action: Action
    name: str


class Plain(NamedTuple):
    """A request whose head is plain: it is worth waiting for its body here.

    `sent` are its headers but for the length of its body, which is `size`.
    """

    target: Target
    sent: Sent
    size: int


class Read(NamedTuple):
    """A plain request that was read for a model, and when that began."""

    plan: Plan
    model: LoadedModel
    began: float


Count = Callable[[str, int, float, str, str], None]
"""Told of every answer: route, status, seconds, path and request id."""


class Connection(Protocol):
    """A client's connection, as the server's protocol keeps it."""

    def begin(self, pending: Pending) -> None:
        """What comes next on it waits for this answer."""

    def abandon(self) -> None:
        """Take `begin` back: the application answers."""

    def is_alone(self) -> bool:
        """Whether there is no other connection, on which more could come meanwhile."""

    def respond(
        self, pending: Pending, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
    ) -> None:
        """Write the answer, and go on with what came after it."""


class Pending:
    """A plain request on its way: the batcher tells it, and the server takes it for a cycle of its own.

    With its answer it lets go of its rows and its model: it and its rows hold each other, so that a model
    that left the cache would stay in memory until garbage is collected, which is seldom.

    Attributes:
        response_complete: whether its answer was written, or nobody waits for one.
        disconnected: set by the server where its client is gone.
        keep_alive: unset by the server where this is to be the connection's last answer.
        asked: its rows, until it is answered.
    """

    __slots__ = (
        *("_began", "_connection", "_direct", "_model", "_parsed", "_plain", "_plan"),
        *("asked", "disconnected", "keep_alive", "response_complete"),
    )

    def __init__(
        self,
        direct: Direct,
        connection: Connection,
        plain: Plain,
        read: Read,
    ) -> None:
        self._direct, self._connection, self._plain = direct, connection, plain
        self._plan, self._model, self._began = read
        self.response_complete = self.disconnected = False
        self.keep_alive = True
        now = time.perf_counter()
        self._parsed = now - self._began
        rows = read.plan.question.rows
        self.asked = Asked(rows, len(rows), engine.wants(plain.target.action), self, now)

    @property
    def message_event(self) -> Pending:
        """What the server calls `set` of when its client is gone."""
        return self

    def set(self) -> None:
        """The client is gone: rows that still wait are dropped."""
        if self.disconnected and not self.response_complete:
            self.asked.leave()

    def done(self) -> bool:
        """Whether nobody waits for the rows any more."""
        return self.response_complete

    def set_result(self, made: Arrays) -> None:
        """Answer."""
        model, plan, asked = self._model, self._plan, self.asked
        self._complete()
        action = self._plain.target.action
        try:
            found = self._direct.engine.answer(action, model, asked, made)
            answered = inference.carry_out(plan, action, found, self._parsed)
        except Exception as error:  # whatever it is, the others of this batch have a right to their answers
            self._refuse(error)
        else:
            self._respond(200, answered.headers, answered.content)

    def set_exception(self, problem: Exception) -> None:
        """Say why there is no answer."""
        self._complete()
        if isinstance(problem, ClientGone):
            self._direct.ended(self._plain.target, _GONE, self._began, self._request_id())
        else:
            self._refuse(problem)

    def _complete(self) -> None:
        self.response_complete = True
        del self._model, self._plan, self.asked

    def _request_id(self) -> str:
        asked = self._plain.sent.get(b"x-request-id")
        return chosen_id(None if asked is None else asked.decode("latin-1"))

    def _refuse(self, problem: Exception) -> None:
        path, request_id = self._plain.target.path, self._request_id()
        if kind_of(problem).status == _UNEXPECTED:
            log.error("request failed", path=path, request_id=request_id, exc_info=problem)
        response = answer({"path": path, "state": {"request_id": request_id}}, problem)
        self._respond(response.status_code, response.raw_headers, bytes(response.body), request_id)

    def _respond(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        content: bytes,
        request_id: str | None = None,
    ) -> None:
        request_id = request_id or self._request_id()
        headers.append((b"x-request-id", request_id.encode()))
        self._direct.ended(self._plain.target, status, self._began, request_id)
        self._connection.respond(self, status, headers, content)


class Direct:
    """Answers the plain requests of one application.

    Args:
        engine: what computes.
        gatekeeper: knows keys.
        find: a path's target, where it has one.
        count: told of every answer.
        ceiling: on requests at once, the same as for all others.
        limit_bytes: of a body that is answered here.
    """

    def __init__(
        self,
        engine: Engine,
        gatekeeper: Gatekeeper,
        *,
        find: Callable[[str], Target | None],
        count: Count,
        ceiling: Ceiling,
        limit_bytes: int,
    ) -> None:
        self.engine = engine
        self._gatekeeper, self._find, self._count = gatekeeper, find, count
        self._ceiling, self._limit = ceiling, limit_bytes
        self._targets: dict[bytes, Target | None] = {}

    def known(self, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Plain | None:
        """The POST with this target and head, if it is plain as far as they tell."""
        target = self._targets.get(url) or self._target(url)
        if target is None:
            return None
        sent = dict(headers)
        size = sent.pop(b"content-length", b"")
        if not size.isdigit() or not _UNUSUAL.isdisjoint(sent):
            return None
        plain = Plain(target, sent, int(size))
        return plain if self.may(plain, plain.size) else None

    def may(self, plain: Plain, size: int) -> bool:
        """Whether the caller with this head is known now, and may send a body of so many bytes."""
        if size > self._limit:
            return False
        key = plain.sent.get(b"authorization")
        caller = self._gatekeeper.unkeyed(plain.sent) if key is None else self._gatekeeper.known(key)
        return caller is not None and caller.may("infer")

    def body(self, plain: Plain) -> Body:
        """What takes a plain request's body as it comes."""
        model = self.engine.held(plain.target.name) if plain.size > _LARGE_BYTES else None
        if model is None:
            return Body(None)
        try:
            return Body(inference.reader(model, plain.target.action, plain.sent, plain.size))
        except _NOT_PLAIN:
            return Body(None)

    def serve(self, plain: Plain, body: Body, connection: Connection) -> bool:
        """Take a request, to be answered now or soon; False leaves it to the application.

        Nothing is raised: in a callback of its parser the server would call the request malformed.
        """
        try:
            return self._serve(plain, body, connection)
        except Exception:
            log.warning("a plain request is left to the application", path=plain.target.path, exc_info=True)
            return False

    def _serve(self, plain: Plain, body: Body, connection: Connection) -> bool:
        began = time.perf_counter() - body.parse_seconds
        action = plain.target.action
        meant = self.engine.names.now(plain.target.name)
        model = None if meant is None else self.engine.cache.held(meant.key)
        if meant is None or model is None or self._ceiling.is_reached:
            return False
        try:
            plan = inference.plan(model, action, plain.sent, body, meant.threshold)
        except _NOT_PLAIN:
            return False
        if plan is None:
            return False
        pending = Pending(self, connection, plain, Read(plan, model, began))
        connection.begin(pending)
        self._ceiling.now += 1
        try:
            self.engine.begin(action, model, pending.asked, alone=connection.is_alone())
        except Exception as error:
            if pending.response_complete:
                log.exception("after an answer", path=plain.target.path)
                return True
            self._ceiling.now -= 1
            connection.abandon()
            if not isinstance(error, Overloaded):
                raise
            return False
        return True

    def ended(self, target: Target, status: int, began: float, request_id: str) -> None:
        """One request is over."""
        self._ceiling.now -= 1
        self._count(target.route, status, time.perf_counter() - began, target.path, request_id)

    def _target(self, url: bytes) -> Target | None:
        if b"?" in url or b"%" in url or not url.isascii():
            return None
        target = self._find(url.decode())
        if len(self._targets) >= _REMEMBERED_TARGETS:
            self._targets.clear()
        if target is not None:
            self._targets[url] = target
        return target
