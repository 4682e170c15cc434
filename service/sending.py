"""The HTTP server's last step: what an answer's head and body say leaves by one system call, not by two.

A server writes the head when it is told of it and the body when that comes; each write is a call to the
kernel, which wakes the client twice and takes longer than the forward pass of a small model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.direct import Direct, Pending, Plain
from service.repeats import RepeatedHead
from service.serving.arriving import Body

ANSWERING = "answering"
"""Where a request's `state` has the tasks that are answering requests now, its own among them."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
_line = b": ".join


class Gathered:
    """A transport that keeps what is written in one turn of the event loop and sends it at its end.

    Args:
        transport: the connection.
        soon: the event loop's own `call_soon`.
        is_alone: whether it is the server's only connection.
    """

    __slots__ = (
        *("_is_alone", "_kept", "_soon", "_transport"),
        *("is_closing", "pause_reading", "resume_reading"),
    )

    def __init__(
        self, transport: asyncio.Transport, soon: Callable[..., object], is_alone: Callable[[], bool]
    ) -> None:
        self._transport, self._soon, self._is_alone = transport, soon, is_alone
        self._kept: list[bytes] = []
        self.is_closing = transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send it, soon."""
        if not self._kept:
            self._soon(self._send)
        self._kept.append(data)

    def write_whole(self, data: bytes) -> None:
        """Send all of an answer: at once where no other connection can have one too, else with theirs.

        A client of many connections that is woken by the first answer takes the processor from who writes the
        next; of answers that leave right behind each other it finds several.
        """
        if self._kept or not self._is_alone():
            self.write(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, and close."""
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        kept, self._kept = self._kept, []
        if kept and not self._transport.is_closing():
            self._transport.write(b"".join(kept) if len(kept) > 1 else kept[0])


def sent_whole(send: Send, headers: Sequence[tuple[bytes, bytes]], content: bytes) -> bool:
    """Write an answer, 200, in one piece, where `send` is this server's own and nothing stands in the way.

    Args:
        send: the application's, as it came from the server.
        headers: the length among them; made here, since nobody looks at them any more.
        content: all of the body.

    Returns:
        Whether it was written, or its client is gone; if not, it has to be sent by messages.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle:
        return False
    transport: object = cycle.transport
    if not isinstance(transport, Gathered):
        return False
    if cycle.response_started or not cycle.keep_alive or cycle.flow.write_paused:
        return False
    if cycle.access_log and cycle.access_logger.isEnabledFor(logging.INFO):
        return False  # the server writes that line when it is told of the answer by messages
    if cycle.disconnected:
        return True
    lines = map(_line, (*cycle.default_headers, *headers))
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    transport.write_whole(b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", content)))
    cycle.on_response()
    return True


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a transport that gathers; a request's state says what else is answered.

    Requests that are plain, where the application answers such directly, do not become tasks.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app_state[ANSWERING] = server_state.tasks
        shortcut = getattr(config.loaded_app, "shortcut", None)
        watched = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        bare = not (watched or config.root_path or config.limit_concurrency)
        self._direct: Direct | None = getattr(shortcut, "direct", None) if bare else None
        self._plain: Plain | None = None
        self._body: Body | None = None
        self._before: Any = None
        # Whether no request has begun since the last one ended, and what came with the begin of this one.
        self._is_between, self._piece = True, b""
        self._repeated: RepeatedHead | None = None
        # Whether what is being read is the application's, however plain it is.
        self._is_left = False
        self._rests_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        """A client has come."""
        super().connection_made(
            cast(asyncio.Transport, Gathered(transport, self.loop.call_soon, self.is_alone))
        )

    def data_received(self, data: bytes) -> None:
        """Some bytes are here: nearly always a request that differs from the last one in its body alone."""
        if self._is_between and self._direct is not None:
            if self._repeated is not None and self._serve_again(self._repeated, self._direct, data):
                return
            self._piece = data
        super().data_received(data)
        self._piece, self._is_left = b"", False

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is here."""
        if self._direct is not None and not self._is_left and self._is_free():
            self._plain = self._direct.known(self.url, self.headers)
            if self._plain is not None:
                self._body = self._direct.body(self._plain)
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of its body is here."""
        if self._body is not None:
            self._body.add(body)
        else:
            super().on_body(self._begun(body))

    def on_message_complete(self) -> None:
        """All of it is here."""
        self._is_between = True
        plain, body, self._plain, self._body = self._plain, self._body, None, None
        if plain is None or body is None or self._direct is None:
            super().on_message_complete()
            return
        if self._direct.serve(plain, body, self):
            self._repeated = RepeatedHead.of(self._piece, plain)
        else:
            super().on_headers_complete()
            super().on_body(body.whole())
            super().on_message_complete()

    def shutdown(self) -> None:
        """The server ends: what has begun to come is answered first."""
        if self._body is not None:
            body, self._plain, self._body = self._body, None, None
            super().on_headers_complete()
            super().on_body(body.whole())
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for as long as a connection may rest, or since then something did."""
        self.timeout_keep_alive_task = None
        if self._has_answered():
            until = self._rests_since + self.timeout_keep_alive
            if until > self.loop.time():
                self.timeout_keep_alive_task = self.loop.call_at(until, self.timeout_keep_alive_handler)
            else:
                super().timeout_keep_alive_handler()

    def begin(self, pending: Pending) -> None:
        """What comes next on the connection waits for this answer."""
        # The parent asks of a cycle only what a pending one has too.
        self._before, self.cycle = self.cycle, cast(RequestResponseCycle, pending)

    def abandon(self) -> None:
        """Take `begin` back."""
        self.cycle = self._before

    def is_alone(self) -> bool:
        """Whether this is the server's only connection."""
        return len(self.connections) == 1

    def respond(
        self, pending: Pending, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
    ) -> None:
        """Write an answer in one piece."""
        if pending.disconnected:
            return
        lines = [_STATUS_LINES[status], *map(_line, self.server_state.default_headers), *map(_line, headers)]
        if not pending.keep_alive:
            lines.append(b"connection: close")
        lines += (b"", content)
        self.transport.write_whole(b"\r\n".join(lines))  # type: ignore[attr-defined]  # ours
        if pending.keep_alive and not self.pipeline:
            self._rest()
            return
        if not pending.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _serve_again(self, repeated: RepeatedHead, direct: Direct, data: bytes) -> bool:
        """Take a whole request with the head of the one before; False leaves it to the parser."""
        content = repeated.body_of(data) if self._has_answered() else None
        if content is None:
            return False
        if direct.may(repeated.plain, len(content)):
            body = Body(None)
            body.add(content)
            if direct.serve(repeated.plain, body, self):
                return True
        self._is_left = True
        return False

    def _begun(self, body: bytes) -> bytes:
        """What is to be added to the body that the application has not taken yet.

        Of an empty one its parent makes a copy of each part, and of that another when it is asked for.
        """
        cycle: object = self.cycle
        if type(cycle) is not RequestResponseCycle or cycle.response_complete:
            return body  # which nobody will take
        held: bytes | bytearray = self.cycle.body
        if not held:
            self.cycle.body = cast(bytearray, body)
            return b""
        if isinstance(held, bytes):
            self.cycle.body = bytearray(held)
        return body

    def _rest(self) -> None:
        """All that came is answered: as `on_response_complete`, but a timer that runs is not set again."""
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rests_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _has_answered(self) -> bool:
        """Whether nothing that came before waits for an answer."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def _is_free(self) -> bool:
        """Whether a request that comes now is a plain POST, as far as the connection tells, and the next."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and self._has_answered()
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
        )
