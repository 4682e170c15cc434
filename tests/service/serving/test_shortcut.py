"""Inference takes a short way past the framework: nobody may see a difference."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service import metrics
from tests.service.conftest import ADMIN_KEY, Door, Opens, admin, issue, opened, settings_for
from tests.service.serving.waiting import until

PATH = "/v1/models/digits-code/encode"
ROWS = np.random.default_rng(0).random((3, 64), dtype=np.float32)
JSON = {"Content-Type": "application/json"}


class Ordinary:
    """The same application, reached the framework's way."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await FastAPI.__call__(self._app, scope, receive, send)


@pytest.fixture
def ordinary(serving: Door) -> Iterator[Door]:
    door = Door(Ordinary(serving.app), serving.portal)  # type: ignore[arg-type]  # an ASGI application will do
    yield door
    serving.portal.call(door._http.aclose)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    return buffer.getvalue()


NPY = {"Content-Type": "application/x-npy"}
TRIES: list[tuple[str, str, dict[str, Any]]] = [
    ("encode", "digits-code", {"json": {"inputs": ROWS.tolist()}}),
    ("encode", "digits-code@1", {"content": _npy(), "headers": NPY}),
    ("reconstruct", "digits-code", {"content": _npy(), "headers": {**NPY, "Accept": "application/x-npy"}}),
    ("decode", "digits-code", {"json": {"inputs": [[0.0] * 4]}}),
    ("score", "digits-code", {"json": {"inputs": ROWS.tolist(), "per_feature": True}}),
    ("encode", "digits-code", {"json": {"inputs": [[0.0] * 63]}}),
    ("encode", "nobody", {"json": {"inputs": ROWS.tolist()}}),
    ("encode", "digits-code", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
    ("encode", "digits-code", {"content": b"x", "headers": {**JSON, "Accept": "text/html"}}),
    ("encode", "digits-code", {"json": {"inputs": ROWS.tolist()}, "headers": {"X-Request-ID": "mine"}}),
    ("encode", "digits-code", {"json": {}, "headers": {"Host": "elsewhere.example"}}),
    ("encode", "digits-code", {"content": b"x" * 70_000_000, "headers": JSON}),
]


def _told(answer: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    fresh = {"server-timing", "x-request-id"}
    headers = {name: value for name, value in answer.headers.items() if name not in fresh}
    body: Any = answer.content
    if "json" in headers["content-type"]:
        body = answer.json()
        if isinstance(body, dict):
            body.pop("request_id", None)
    headers.pop("content-length")
    return answer.status_code, body, headers


@pytest.mark.parametrize(("action", "name", "options"), TRIES)
def test_both_ways_answer_the_same(
    serving: Door, ordinary: Door, action: str, name: str, options: dict[str, Any]
) -> None:
    path = f"/v1/models/{name}/{action}"
    short, long = (door.post(path, **options) for door in (serving, ordinary))
    assert _told(short) == _told(long)
    for answer in (short, long):
        assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
        assert int(answer.headers["content-length"]) == len(answer.content)
        if options.get("headers", {}).get("X-Request-ID"):
            assert answer.headers["x-request-id"] == "mine"


def test_requests_are_counted_under_their_route(serving: Door) -> None:
    def counted(status: int) -> float:
        return metrics.requests.labels("POST", "/v1/models/{name}/encode", str(status)).value

    before = counted(200), counted(404)
    serving.post(PATH, json={"inputs": ROWS.tolist()})
    serving.post("/v1/models/nobody/encode", json={"inputs": ROWS.tolist()})
    assert (counted(200), counted(404)) == (before[0] + 1, before[1] + 1)
    text = serving.get("/metrics").text
    assert 'hourglass_request_seconds_count{method="POST",route="/v1/models/{name}/encode"}' in text
    assert 'hourglass_inference_batch_rows_bucket{le="4.0"}' in text


def test_a_key_is_needed_and_its_scope(trained: Any) -> None:
    body = {"inputs": ROWS.tolist()}
    with opened(settings_for(trained, admin_key=ADMIN_KEY)) as door:
        nobody = door.post(PATH, json=body)
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"].startswith("Bearer")
        assert door.post(PATH, json=body, headers=issue(door, "read")).status_code == 403
        assert door.post(PATH, json=body, headers={"Authorization": "Bearer no"}).status_code == 401
        assert door.post(PATH, json=body, headers=admin()).status_code == 200
        key = issue(door, "infer")
        for _ in range(2):
            assert door.post(PATH, json=body, headers=key).status_code == 200


def test_a_full_house_and_a_full_queue_say_when_to_come_back(opens: Opens, trained: Any) -> None:
    with opened(settings_for(trained, requests_in_flight=1)) as door:
        entered, leave = threading.Event(), threading.Event()

        async def slow() -> None:
            entered.set()
            await asyncio.to_thread(leave.wait, 30)

        door.app.add_api_route("/v1/slow", slow)
        first = threading.Thread(target=door.get, args=("/v1/slow",))
        first.start()
        assert entered.wait(30)
        try:
            answer = door.post(PATH, json={"inputs": ROWS.tolist()})
        finally:
            leave.set()
            first.join()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["type"].endswith("busy")
        assert door.post(PATH, json={"inputs": ROWS.tolist()}).status_code == 200


def _asked(body: bytes) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/x-npy")],
        "state": {},
    }


def test_nobody_is_answered_who_left_before_the_body_was_whole(serving: Door) -> None:
    sent: list[Message] = []

    async def ask() -> None:
        begun: Message = {"type": "http.request", "body": b"x", "more_body": True}
        messages: Iterator[Message] = iter([begun, {"type": "http.disconnect"}])

        async def receive() -> Message:
            return next(messages)

        async def send(message: Message) -> None:
            sent.append(message)

        await serving.app(_asked(b""), receive, send)

    serving.portal.call(ask)
    assert sent == []
    assert metrics.requests.labels("POST", "/v1/models/{name}/encode", "499").value >= 1


def test_the_rows_of_a_client_that_leaves_while_it_waits_are_dropped(served: Door) -> None:
    """Real ASGI messages: the second request waits behind the first, and its client goes away."""
    sent: list[Message] = []

    async def ask() -> None:
        engine = served.app.state.gateway.engine
        model = await engine.model("digits-code")
        entered, go, seen = threading.Event(), threading.Event(), []
        forward = model.encoding.forward

        def held(rows: Any, wants: Any) -> Any:
            seen.append(len(rows))
            entered.set()
            assert go.wait(60)
            return forward(rows, wants)

        model.encoding.forward = held
        model.encoding.pace.__init__()  # nothing known of it yet: its passes go to the thread
        first = asyncio.create_task(engine.run("encode", model, ROWS))
        await until(entered.is_set)
        messages: asyncio.Queue[Message] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": _npy(), "more_body": False})

        async def send(message: Message) -> None:
            sent.append(message)

        second = asyncio.create_task(served.app(_asked(b""), messages.get, send))
        await until(lambda: engine._batcher.waiting_rows)
        messages.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(second, 30)
        go.set()
        await first
        assert seen == [3]

    served.portal.call(ask)
    assert sent == []
