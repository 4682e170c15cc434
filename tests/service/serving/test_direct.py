"""Plain requests are answered from the server's own callbacks: nobody may see a difference."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from service import metrics
from tests.service.serving.on_a_port import (
    ONE,
    PATH,
    ROUTE,
    ROWS,
    WIDE,
    Gateway,
    on_a_port,
    plainly,
    read_answers,
    request,
)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, ROWS)
    return buffer.getvalue()


NPY = {"Content-Type": "application/x-npy"}
RAW = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}
# What is asked, with what, and whether it is plain to its end.
MANY = np.random.default_rng(1).random((900, 64), dtype=np.float32)
LARGE = orjson.dumps({"inputs": MANY}, option=orjson.OPT_SERIALIZE_NUMPY)
JSON = {"Content-Type": "application/json"}
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
    ("encode", {"content": LARGE, "headers": JSON}, True),
    ("score", {"content": LARGE, "headers": JSON}, True),
    ("reconstruct", {"content": LARGE, "headers": {**JSON, "Accept": "application/x-npy"}}, False),
    ("encode", {"content": LARGE[:-2] + b",[1]]}", "headers": JSON}, False),
    ("encode", {"content": LARGE[:-2] + b"]", "headers": JSON}, False),
    ("encode", {"content": MANY.tobytes(), "headers": {**RAW, "Accept": "application/json"}}, True),
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


FOREIGN = [
    {"Host": "elsewhere.example"},
    {"Origin": "http://elsewhere.example"},
    {"Sec-Fetch-Site": "cross-site"},
]


def test_where_no_key_is_needed_pages_of_others_are_refused_all_the_same(
    trained: Path, taken: list[bool]
) -> None:
    with on_a_port(trained, admin_key=None) as gateway:
        answer = plainly(gateway, taken, lambda: gateway.client.post(PATH, json=ONE))
        assert (answer.status_code, taken) == (200, [True])
        for headers in FOREIGN:
            gateway.client.post(PATH, json=ONE).raise_for_status()  # that none is needed is known again
            gateway.client.get("/health/live")
            taken.clear()
            assert gateway.client.post(PATH, json=ONE, headers=headers).status_code == 403, headers
            assert taken == []


def test_the_first_key_ends_that_none_is_needed(trained: Path, taken: list[bool]) -> None:
    with on_a_port(trained, admin_key=None) as gateway:
        plainly(gateway, taken, lambda: gateway.client.post(PATH, json=ONE))
        gateway.client.post("/v1/keys", json={"name": "first", "scopes": ["admin"]}).raise_for_status()
        taken.clear()
        assert gateway.client.post(PATH, json=ONE).status_code == 401
        assert taken == []


def test_requests_in_one_packet_are_answered_in_order(gateway: Gateway, taken: list[bool]) -> None:
    bodies = [json.dumps({"inputs": ROWS[:count].tolist()}).encode() for count in (1, 2, 3)]
    live = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    packet = b"".join(
        [request(PATH, bodies[0]), live] + [request(PATH, body) for body in (bodies[1], b"{}", bodies[2])]
    )

    def ask() -> list[tuple[int, Any]]:
        with gateway.line() as line:
            line.sendall(packet)
            return read_answers(line, 5)

    answers = plainly(gateway, taken, ask)
    assert [status for status, _ in answers] == [200, 200, 200, 422, 200]
    assert [len(body["codes"]) for _, body in answers if "codes" in body] == [1, 2, 3]
    assert taken[0] is True


def test_a_body_may_come_in_pieces(gateway: Gateway, taken: list[bool]) -> None:
    whole = request(PATH, json.dumps(ONE).encode())

    def ask() -> list[tuple[int, Any]]:
        with gateway.line() as line:
            for start in range(0, len(whole), 100):
                line.sendall(whole[start : start + 100])
                time.sleep(0.001)
            return read_answers(line, 1)

    assert plainly(gateway, taken, ask)[0][0] == 200
    assert taken == [True]


def test_many_at_once_are_counted(gateway: Gateway) -> None:
    alone = gateway.client.post(PATH, json=ONE).json()["codes"][0]
    before = metrics.requests.labels("POST", ROUTE, "200").value
    lines = [gateway.line() for _ in range(16)]
    try:
        for line in lines:
            line.sendall(request(PATH, json.dumps(ONE).encode()))
        found = [read_answers(line, 1)[0] for line in lines]
    finally:
        for line in lines:
            line.close()
    np.testing.assert_allclose([body["codes"][0] for _, body in found], [alone] * 16, rtol=1e-5, atol=1e-6)
    assert metrics.requests.labels("POST", ROUTE, "200").value == before + 16
    assert gateway.app.shortcut._ceiling.now == 0
