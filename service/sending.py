"""The HTTP server's last step: what an answer's head and body say leaves by one system call, not by two.

A server writes the head when it is told of it and the body when that comes; each write is a call to the
kernel, which wakes the client twice and takes longer than the forward pass of a small model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from starlette.types import Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

ANSWERING = "answering"
"""Where a request's `state` has the tasks that are answering requests now, its own among them."""


class Gathered:
    """A transport that keeps what is written in one turn of the event loop and sends it at its end.

    Args:
        transport: the connection.
        soon: the event loop's own `call_soon`.
    """

    __slots__ = ("_kept", "_soon", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, soon: Callable[..., object]) -> None:
        self._transport, self._soon = transport, soon
        self._kept: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send it, soon."""
        if not self._kept:
            self._soon(self._send)
        self._kept.append(data)

    def write_now(self, data: bytes) -> None:
        """Send it behind what is kept, without waiting for the turn's end."""
        self._kept.append(data)
        self._send()

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
    lines = [name + b": " + value for name, value in (*cycle.default_headers, *headers)]
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.message_event.set()
    transport.write_now(b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", content)))
    cycle.on_response()
    return True


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol over a transport that gathers; a request's state says what else is answered."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app_state[ANSWERING] = server_state.tasks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent
        """A client has come."""
        super().connection_made(cast(asyncio.Transport, Gathered(transport, self.loop.call_soon)))
