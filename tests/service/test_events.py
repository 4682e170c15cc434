from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from service import stream
from store import Jobs
from tests.service.conftest import Door, Opens

STREAM = {"Accept": "text/event-stream"}


class Listener:
    """A client of an event stream, spoken to as a server would: what it was sent, as it comes."""

    def __init__(self, door: Door, path: str, headers: dict[str, str]) -> None:
        self.door, self.status, self.text = door, 0, ""
        self.headers: dict[str, str] = {}
        self.ended = False
        self._gone = asyncio.Event()
        raw = [
            (key.lower().encode(), value.encode()) for key, value in {"Host": "localhost", **headers}.items()
        ]
        target, _, query = path.partition("?")
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": raw,
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "state": {},
        }
        self._sent_request = False
        self._future = door.portal.start_task_soon(self._run)

    async def _run(self) -> None:
        await self.door.app(self._scope, self._receive, self._send)
        self.ended = True

    async def _receive(self) -> dict[str, Any]:
        if not self._sent_request:
            self._sent_request = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        else:
            self.text += message.get("body", b"").decode()

    def until(self, seen: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not seen():  # what is waited for is said by the application alone
                assert not self._future.done() or seen(), self.text
                await asyncio.sleep(0.01)

        self.door.portal.call(wait)

    def wait(self) -> None:
        self._future.result(30)

    def leave(self) -> None:
        self.door.portal.call(self._gone.set)
        with contextlib.suppress(Exception):
            self._future.result(30)

    def numbers(self) -> list[int]:
        return [int(line[4:]) for line in self.text.splitlines() if line.startswith("id: ")]

    def types(self) -> list[str]:
        return [line[7:] for line in self.text.splitlines() if line.startswith("event: ")]


@pytest.fixture
def job(served: Door) -> str:
    return str(served.post("/v1/jobs", json={"dataset": "blobs", "code": 2}).json()["id"])


def _record(door: Door, job: str, token: int, count: int) -> None:
    with door.store.transaction() as session:
        Jobs(session).record(job, token, events=[("log", {"message": str(n)}) for n in range(count)])


def _claim(door: Door) -> int:
    with door.store.transaction() as session:
        row = Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)
        assert row is not None
        return row.token


def _finish(door: Door, job: str, token: int, state: str = "succeeded") -> None:
    with door.store.transaction() as session:
        Jobs(session).finish(job, token, state)


def test_events_are_read_as_pages(served: Door, job: str) -> None:
    token = _claim(served)
    _record(served, job, token, 5)
    first = served.get(f"/v1/jobs/{job}/events?limit=4").json()
    assert [item["id"] for item in first["items"]] == [1, 2, 3, 4]
    assert first["items"][0]["type"] == "state"
    assert first["items"][0]["data"] == {"state": "queued"}
    assert first["next"] == 4
    second = served.get(f"/v1/jobs/{job}/events?limit=4&after=4").json()
    assert [item["id"] for item in second["items"]] == [5, 6, 7]
    assert second["next"] is None
    assert served.get(f"/v1/jobs/{job}/events?after=-1").status_code == 422


def test_a_stream_replays_follows_and_ends(served: Door, job: str) -> None:
    listener = Listener(served, f"/v1/jobs/{job}/events", STREAM)
    listener.until(lambda: listener.numbers() == [1])
    assert listener.status == 200
    assert listener.headers["content-type"].startswith("text/event-stream")
    assert listener.headers["cache-control"] == "no-store"
    assert listener.headers["x-accel-buffering"] == "no"
    token = _claim(served)
    _record(served, job, token, 3)
    listener.until(lambda: len(listener.numbers()) == 5)
    assert not listener.ended
    _finish(served, job, token)
    listener.wait()
    numbers = listener.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    assert listener.types()[-1] == "done"


def test_last_event_id_goes_on_without_loss_or_repeat(served: Door, job: str) -> None:
    token = _claim(served)
    _record(served, job, token, 1200)
    first = Listener(served, f"/v1/jobs/{job}/events", STREAM)
    first.until(lambda: len(first.numbers()) >= 700)
    first.leave()
    seen = first.numbers()
    second = Listener(served, f"/v1/jobs/{job}/events", {**STREAM, "Last-Event-ID": str(seen[-1])})
    _finish(served, job, token)
    second.wait()
    assert seen + second.numbers() == list(range(1, 1205))


def test_a_finished_job_replays_and_then_has_nothing_left(served: Door, job: str) -> None:
    token = _claim(served)
    _finish(served, job, token)
    replay = Listener(served, f"/v1/jobs/{job}/events", STREAM)
    replay.wait()
    assert replay.types()[-1] == "done"
    answer = served.get(
        f"/v1/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": str(replay.numbers()[-1])}
    )
    assert answer.status_code == 204


def test_a_resumed_job_goes_on_after_its_first_end(served: Door, job: str) -> None:
    token = _claim(served)
    _finish(served, job, token, "failed")
    served.post(f"/v1/jobs/{job}/resume")
    listener = Listener(served, f"/v1/jobs/{job}/events", STREAM)
    listener.until(lambda: "done" in listener.types() and listener.types()[-1] == "state")
    assert not listener.ended
    _finish(served, job, _claim(served))
    listener.wait()
    assert listener.types().count("done") == 2


def test_many_listeners_are_told_the_same(served: Door, job: str) -> None:
    listeners = [Listener(served, f"/v1/jobs/{job}/events", STREAM) for _ in range(20)]
    for listener in listeners:
        listener.until(lambda at=listener: at.numbers() == [1])  # type: ignore[misc]  # bound early on purpose
    token = _claim(served)
    _record(served, job, token, 50)
    _finish(served, job, token)
    for listener in listeners:
        listener.wait()
    assert len({tuple(listener.numbers()) for listener in listeners}) == 1
    assert not served.app.state.gateway.tailer._watchers


def test_an_idle_stream_is_kept_alive_without_an_id(opens: Opens) -> None:
    with opens(keep_alive_seconds=0.05) as door:
        job = door.post("/v1/jobs", json={"dataset": "digits", "code": 2}).json()["id"]
        listener = Listener(door, f"/v1/jobs/{job}/events", STREAM)
        listener.until(lambda: listener.text.count(": keep-alive") >= 2)
        assert listener.numbers() == [1]
        listener.leave()


def test_a_caller_holds_only_so_many_streams(opens: Opens) -> None:
    with opens(streams_per_caller=1) as door:
        job = door.post("/v1/jobs", json={"dataset": "digits", "code": 2}).json()["id"]
        first = Listener(door, f"/v1/jobs/{job}/events", STREAM)
        first.until(lambda: first.numbers() == [1])
        answer = door.get(f"/v1/jobs/{job}/events", headers=STREAM)
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
        assert door.get(f"/v1/jobs/{job}/events").status_code == 200
        first.leave()
        again = Listener(door, f"/v1/jobs/{job}/events", STREAM)
        again.until(lambda: again.numbers() == [1])
        again.leave()


def test_a_stopping_gateway_ends_its_streams(served: Door, job: str) -> None:
    listener = Listener(served, f"/v1/jobs/{job}/events", STREAM)
    listener.until(lambda: listener.numbers() == [1])
    served.portal.call(served.app.state.gateway.tailer.close)
    listener.wait()


def test_a_slow_client_is_let_go_and_loses_nothing(
    served: Door, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = stream.Watcher()
    for number in range(stream.QUEUE_EVENTS + 1):
        watcher.give(stream.Told(number + 1, "log", {}, ""))
    assert watcher.dropped
    assert watcher.queue.qsize() == stream.QUEUE_EVENTS


@pytest.mark.parametrize("number", ["x", "-1", "1e9", "9" * 30])
def test_a_wrong_last_event_id_is_refused(served: Door, job: str, number: str) -> None:
    answer = served.get(f"/v1/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": number})
    assert answer.status_code == 422
