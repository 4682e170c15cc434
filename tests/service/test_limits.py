from __future__ import annotations

import threading
from collections.abc import AsyncIterator

from tests.service.conftest import Door, Opens, admin

JSON = {"Content-Type": "application/json"}


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 1000


def test_a_declared_size_over_the_limit_is_refused_unread(opens: Opens) -> None:
    with opens(body_limit_bytes=10_000) as door:
        answer = door.post("/v1/jobs", content=b" " * 10_001, headers=JSON)
    assert answer.status_code == 413
    assert "10,001" in answer.json()["detail"]
    assert "10,000" in answer.json()["detail"]
    assert "/v1/datasets" in answer.json()["detail"]


def test_bytes_are_counted_where_no_size_is_declared(opens: Opens) -> None:
    with opens(body_limit_bytes=10_000) as door:
        answer = door.post("/v1/jobs", content=_chunks(11), headers=JSON)
        encode = door.post("/v1/models/none/encode", content=_chunks(11), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "at least" in answer.json()["detail"]
    assert encode.status_code in (404, 413)


def test_what_is_beyond_the_limit_is_not_read(opens: Opens) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b" " * 1000

    with opens(body_limit_bytes=10_000) as door:
        assert door.post("/v1/jobs", content=body(), headers=JSON).status_code == 413
    assert sent < 20_000


def test_an_upload_has_its_own_limit(opens: Opens) -> None:
    with opens(body_limit_bytes=1000, upload_limit_bytes=20_000) as door:
        within = door.post("/v1/datasets", content=_chunks(15), headers={"Content-Type": "text/csv"})
        beyond = door.post("/v1/datasets", content=_chunks(21), headers={"Content-Type": "text/csv"})
    assert within.status_code == 422
    assert beyond.status_code == 413
    assert "HOURGLASS_UPLOAD_LIMIT_BYTES" in beyond.json()["detail"]


def test_a_strangers_large_body_is_not_read(guarded: Door) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        raise AssertionError("the body of a stranger was read")

    assert guarded.post("/v1/datasets", content=endless()).status_code == 401


def test_too_many_at_once_are_asked_to_come_back(opens: Opens) -> None:
    with opens(requests_in_flight=1, admin_key=None) as door:
        entered, leave = threading.Event(), threading.Event()

        def slow() -> None:
            entered.set()
            leave.wait(30)

        door.app.add_api_route("/v1/slow", slow)
        first = threading.Thread(target=door.get, args=("/v1/slow",))
        first.start()
        assert entered.wait(30)
        try:
            answer = door.get("/v1/jobs")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["type"].endswith("busy")
            assert door.get("/health/live").status_code == 200
        finally:
            leave.set()
            first.join()
        assert door.get("/v1/jobs").status_code == 200


def test_a_key_is_asked_for_before_the_ceiling(opens: Opens) -> None:
    with opens(requests_in_flight=1, admin_key="x" * 20) as door:
        assert door.get("/v1/jobs", headers=admin()).status_code == 401
