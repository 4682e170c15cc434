"""The gateway's port, opened so that a taken one is one clear line."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

from cli.errors import Refused

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """An open, listening socket.

    Raises:
        Refused: the port is taken, not allowed, or the host is not of this machine.
    """
    with _refusing(host, port):
        return socket.create_server((host, port), family=_family(host), backlog=BACKLOG)


class Port(socket.socket):
    """A port for several processes: pickled to one, it is a socket of that process's own on it.

    Processes that accept from one socket each take whatever waits when they look, so that one of them may get
    all of a client's connections and keep them. With sockets of their own the kernel deals connections out.
    This one never listens; it holds the port for those to come.

    Raises:
        Refused: as `listen`.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(_family(host))
        try:
            with _refusing(host, port):
                _bind(self, (host, port))
        except Refused:
            self.close()
            raise
        # Only now: a second gateway on the port is refused.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def __reduce__(self) -> tuple[Any, ...]:
        return _beside, (self.family, self.getsockname())


def _beside(family: int, address: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(family)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(opened, address)
    return opened


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind(opened: socket.socket, address: tuple[Any, ...]) -> None:
    """As `socket.create_server` does."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(address)


@contextlib.contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "is taken by another process",
            errno.EACCES: "is not allowed to you",
            errno.EADDRNOTAVAIL: "is not an address of this machine",
        }.get(error.errno or 0, f"cannot be opened ({error.strerror or error})")
        raise Refused(f"{host}:{port} {reason}; set HOURGLASS_HOST and HOURGLASS_PORT to another") from None
