"""Plain requests are answered from the server's own callbacks: nobody may see a difference."""

from __future__ import annotations

import gc
import io
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import uvicorn

from service import direct, metrics
from service.app import Application, create_app
from service.sending import Protocol
from service.serving.forward import LoadedModel
from tests.service.conftest import ADMIN_KEY, settings_for

PATH = "/v1/models/digits-code/encode"
ROUTE = "/v1/models/{name}/encode"
KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}
ROWS = np.random.default_rng(0).random((3, 64), dtype=np.float32)
T = TypeVar("T")
ONE = {"inputs": ROWS[:1].tolist()}


class Gateway:
    """A gateway on a port, in a thread of this process, and whoever asks it."""

    def __init__(self, app: Application, port: int, server: uvicorn.Server) -> None:
        self.app, self.port, self.server = app, port, server
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=60)

    def model(self) -> LoadedModel:
        """The model in memory, once it was asked."""
        self.client.post(PATH, json=ONE).raise_for_status()
        held: LoadedModel | None = self.app.state.gateway.engine.held("digits-code")
        assert held is not None
        return held

    def line(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextmanager
def on_a_port(home: Path, **given: Any) -> Iterator[Gateway]:
    door = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings_for(home, admin_key=ADMIN_KEY, **given))
    config = uvicorn.Config(
        app, loop="uvloop", http=Protocol, log_config=None, log_level="warning", proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([door],), name="gateway")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.01)
        gateway = Gateway(app, door.getsockname()[1], server)
        with gateway.client:
            gateway.client.post(PATH, json=ONE)  # the key and the model are known from here on
            yield gateway
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@pytest.fixture
def gateway(trained: Path) -> Iterator[Gateway]:
    with on_a_port(trained) as gateway:
        yield gateway


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What became of each request whose head was plain: whether it was answered directly."""
    found: list[bool] = []
    serve = direct.Direct.serve

    def serving(self: Any, *arguments: Any) -> bool:
        answered = serve(self, *arguments)
        found.append(answered)
        return answered

    monkeypatch.setattr(direct.Direct, "serve", serving)
    return found


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


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    return buffer.getvalue()


NPY = {"Content-Type": "application/x-npy"}
RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
WIDE = {"inputs": np.zeros((900, 64)).tolist()}
# What is asked, with what, and whether it is plain to its end.
TRIES: list[tuple[str, dict[str, Any], bool]] = [
    ("encode", {"json": {"inputs": ROWS.tolist()}}, True),
    ("encode", {"json": {"inputs": ROWS.reshape(3, 8, 8).tolist()}}, True),
    ("encode", {"json": {"inputs": ROWS.tolist(), "encoding": "base64"}}, True),
    ("encode", {"content": _npy(), "headers": {**NPY, "Accept": "text/csv"}}, True),
    ("encode", {"content": ROWS.tobytes(), "headers": RAW}, True),
    ("reconstruct", {"content": _npy(), "headers": {**NPY, "Accept": "application/x-npy"}}, True),
    ("decode", {"json": {"inputs": [[0.0] * 4]}}, True),
    ("score", {"json": {"inputs": ROWS.tolist()}}, True),
    ("encode", {"json": ONE, "headers": {"X-Request-ID": "mine"}}, True),
    ("score", {"json": {"inputs": ROWS.tolist(), "per_feature": True}}, False),
    ("reconstruct", {"json": WIDE, "headers": {"Accept": "application/x-npy"}}, False),
    ("encode", {"json": {"inputs": [[0.0] * 63]}}, False),
    ("encode", {"content": b"{", "headers": {"Content-Type": "application/json"}}, False),
    ("encode", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, False),
    ("encode", {"json": ONE, "headers": {"Accept": "text/html"}}, False),
]


def _told(answer: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    headers = dict(answer.headers)
    for fresh in ("server-timing", "x-request-id", "date", "content-length"):
        headers.pop(fresh, None)
    body: Any = answer.content
    if "json" in headers["content-type"]:
        body = answer.json()
        body.pop("request_id", None)
    return answer.status_code, body, headers


@pytest.mark.parametrize(("action", "options", "plain"), TRIES)
def test_a_plain_request_is_answered_as_any_other(
    gateway: Gateway, taken: list[bool], action: str, options: dict[str, Any], plain: bool
) -> None:
    path = f"/v1/models/digits-code/{action}"
    here = plainly(gateway, taken, lambda: gateway.client.post(path, **options))
    assert taken == [plain]
    through = gateway.client.post(f"{path}?", params={"as": "any other"}, **options)
    assert taken == [plain], "what has a query goes through the application"
    assert _told(here) == _told(through)
    assert ("server-timing" in here.headers) == (here.status_code == 200)
    assert here.headers["x-request-id"] == options.get("headers", {}).get(
        "X-Request-ID", here.headers["x-request-id"]
    )


UNUSUAL: list[tuple[str, dict[str, str]]] = [
    ("/v1/models/nobody/encode", {}),
    (PATH, {"Authorization": "Bearer nobody's"}),
    (PATH, {"Authorization": ""}),
    (PATH, {"Content-Encoding": "br"}),
    (PATH, {"Connection": "close"}),
    ("/v1/jobs", {}),
]


@pytest.mark.parametrize(("path", "headers"), UNUSUAL)
def test_what_is_not_plain_is_left_to_the_application(
    gateway: Gateway, taken: list[bool], path: str, headers: dict[str, str]
) -> None:
    answer = gateway.client.post(path, json=ONE, headers=headers)
    assert taken in ([], [False])
    assert (answer.status_code == 200) == (headers == {"Connection": "close"})


def _request(path: str, body: bytes, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {ADMIN_KEY}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _answers(line: socket.socket, count: int) -> list[tuple[int, Any]]:
    reader, found = line.makefile("rb"), []
    for _ in range(count):
        status = int(reader.readline().split()[1])
        length = 0
        while (header := reader.readline().strip().lower()) != b"":
            if header.startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        found.append((status, json.loads(reader.read(length))))
    return found


def test_requests_in_one_packet_are_answered_in_order(gateway: Gateway, taken: list[bool]) -> None:
    bodies = [json.dumps({"inputs": ROWS[:count].tolist()}).encode() for count in (1, 2, 3)]
    live = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    packet = b"".join(
        [_request(PATH, bodies[0]), live] + [_request(PATH, body) for body in (bodies[1], b"{}", bodies[2])]
    )

    def ask() -> list[tuple[int, Any]]:
        with gateway.line() as line:
            line.sendall(packet)
            return _answers(line, 5)

    answers = plainly(gateway, taken, ask)
    assert [status for status, _ in answers] == [200, 200, 200, 422, 200]
    assert [len(body["codes"]) for _, body in answers if "codes" in body] == [1, 2, 3]
    assert taken[0] is True


def test_a_body_may_come_in_pieces(gateway: Gateway, taken: list[bool]) -> None:
    whole = _request(PATH, json.dumps(ONE).encode())

    def ask() -> list[tuple[int, Any]]:
        with gateway.line() as line:
            for start in range(0, len(whole), 100):
                line.sendall(whole[start : start + 100])
                time.sleep(0.001)
            return _answers(line, 1)

    assert plainly(gateway, taken, ask)[0][0] == 200
    assert taken == [True]


def test_many_at_once_are_counted(gateway: Gateway) -> None:
    alone = gateway.client.post(PATH, json=ONE).json()["codes"][0]
    before = metrics.requests.labels("POST", ROUTE, "200").value
    lines = [gateway.line() for _ in range(16)]
    try:
        for line in lines:
            line.sendall(_request(PATH, json.dumps(ONE).encode()))
        found = [_answers(line, 1)[0] for line in lines]
    finally:
        for line in lines:
            line.close()
    np.testing.assert_allclose([body["codes"][0] for _, body in found], [alone] * 16, rtol=1e-5, atol=1e-6)
    assert metrics.requests.labels("POST", ROUTE, "200").value == before + 16
    assert gateway.app.shortcut._ceiling.now == 0


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


def _wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.001)


def test_the_rows_of_a_client_that_leaves_are_dropped(gateway: Gateway) -> None:
    model, batcher = gateway.model(), gateway.app.state.gateway.engine._batcher
    gone = metrics.requests.labels("POST", ROUTE, "499").value
    with held(model) as (entered, go, seen), gateway.line() as first:
        first.sendall(_request(PATH, json.dumps(ONE).encode()))
        assert entered.wait(60)
        second = gateway.line()
        second.sendall(_request(PATH, json.dumps({"inputs": ROWS.tolist()}).encode()))
        _wait(lambda: batcher.waiting_rows)
        second.close()
        _wait(lambda: metrics.requests.labels("POST", ROUTE, "499").value > gone)
        go.set()
        assert _answers(first, 1)[0][0] == 200
    assert seen == [1]
    _wait(lambda: gateway.app.shortcut._ceiling.now == 0)
    assert gateway.client.post(PATH, json=ONE).status_code == 200


@contextmanager
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("body", [ONE, {"inputs": ROWS[:, :63].tolist()}, WIDE], ids=["plain", "odd", "wide"])
def test_a_model_that_left_the_memory_is_freed_with_its_last_answer(
    gateway: Gateway, taken: list[bool], body: dict[str, Any]
) -> None:
    """At once, and not when garbage is collected next: that is seldom, and models are large."""
    with without_collections():
        plainly(gateway, taken, lambda: gateway.client.post(PATH, json=body))
        left = weakref.ref(gateway.model())
        gateway.app.state.gateway.engine.forget("digits-code")
        _wait(lambda: left() is None)
        assert gateway.client.post(PATH, json=ONE).status_code == 200


def test_a_pass_that_fails_is_said_and_the_connection_lives_on(gateway: Gateway) -> None:
    model = gateway.model()
    forward = model.encoding.forward

    def broken(rows: Any, wants: Any) -> Any:
        raise RuntimeError("no such luck")

    model.encoding.forward = broken
    answer = gateway.client.post(PATH, json=ONE)
    model.encoding.forward = forward
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "luck" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert gateway.client.post(PATH, json=ONE).status_code == 200
    assert gateway.app.shortcut._ceiling.now == 0


def test_a_full_house_and_a_full_queue_say_when_to_come_back(trained: Path) -> None:
    with on_a_port(trained, requests_in_flight=1, inference_rows_queued=1) as gateway:
        model = gateway.model()
        with held(model) as (entered, go, _), gateway.line() as first:
            first.sendall(_request(PATH, json.dumps(ONE).encode()))
            assert entered.wait(60)
            refused = gateway.client.post(PATH, json=ONE)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            go.set()
            assert _answers(first, 1)[0][0] == 200
        assert gateway.client.post(PATH, json=ONE).status_code == 200


def test_what_has_begun_is_answered_when_the_server_ends(gateway: Gateway) -> None:
    model = gateway.model()
    whole = _request(PATH, json.dumps(ONE).encode())
    with held(model) as (entered, go, _), gateway.line() as waiting, gateway.line() as coming:
        waiting.sendall(whole)
        assert entered.wait(60)
        coming.sendall(whole[:-10])
        time.sleep(0.05)
        gateway.server.should_exit = True
        time.sleep(0.3)
        coming.sendall(whole[-10:])
        go.set()
        for line in (waiting, coming):
            assert _answers(line, 1)[0][0] == 200
            assert line.recv(1) == b"", "the last answer of a connection ends it"
