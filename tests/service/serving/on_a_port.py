"""A gateway on a port of this process, and those who speak to it without a client between."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn

from service.app import Application, create_app
from service.sending import Protocol
from service.serving.forward import LoadedModel
from tests.service.conftest import ADMIN_KEY, settings_for
from tests.service.ports import served

ROUTE = "/v1/models/{name}/encode"
PATH = "/v1/models/digits-code/encode"
KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}
ROWS = np.random.default_rng(0).random((3, 64), dtype=np.float32)
ONE = {"inputs": ROWS[:1].tolist()}
WIDE = {"inputs": np.zeros((900, 64)).tolist()}
T = TypeVar("T")


class Gateway:
    """A gateway on a port, in a thread of this process, and whoever asks it."""

    def __init__(self, app: Application, port: int, server: uvicorn.Server, key: dict[str, str]) -> None:
        self.app, self.port, self.server = app, port, server
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key, timeout=60)

    def model(self) -> LoadedModel:
        """The model in memory, once it was asked."""
        self.client.post(PATH, json=ONE).raise_for_status()
        held: LoadedModel | None = self.app.state.gateway.engine.held("digits-code")
        assert held is not None
        return held

    def line(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextmanager
def on_a_port(home: Path, *, admin_key: str | None = ADMIN_KEY, **given: Any) -> Iterator[Gateway]:
    app = create_app(settings_for(home, admin_key=admin_key, **given))
    with served(app, http=Protocol, log_level="warning", proxy_headers=False) as (port, server):
        gateway = Gateway(app, port, server, KEY if admin_key else {})
        with gateway.client:
            gateway.client.post(PATH, json=ONE)  # the key and the model are known from here on
            yield gateway


def request(path: str, body: bytes, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {ADMIN_KEY}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_answers(line: socket.socket, count: int) -> list[tuple[int, Any]]:
    reader, found = line.makefile("rb"), []
    for _ in range(count):
        status = int(reader.readline().split()[1])
        length = 0
        while (header := reader.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        found.append((status, json.loads(reader.read(length))))
    return found


@contextmanager
def held(model: LoadedModel) -> Iterator[tuple[threading.Event, threading.Event, list[int]]]:
    """The model's passes wait in the engine's thread for a sign; which rows they had."""
    entered, go, seen = threading.Event(), threading.Event(), []
    forward = model.encoding.forward

    def waiting(rows: Any, wants: Any) -> Any:
        seen.append(len(rows))
        entered.set()
        assert go.wait(60)
        return forward(rows, wants)

    model.encoding.forward = waiting
    model.encoding.pace.__init__()  # type: ignore[misc]  # nothing known of it yet: passes go to the thread
    try:
        yield entered, go, seen
    finally:
        go.set()
        model.encoding.forward = forward


def plainly(gateway: Gateway, taken: list[bool], ask: Callable[[], T]) -> T:
    """Ask with key and model known, which they are for a second after they were last asked for."""
    for _ in range(50):
        gateway.client.post(PATH, json=ONE).raise_for_status()
        gateway.client.get("/health/live")  # its answer comes behind whatever the loop did before
        taken.clear()
        answer = ask()
        gateway.client.get("/health/live")
        if taken:
            return answer
    raise AssertionError("the head of this request is not plain")
