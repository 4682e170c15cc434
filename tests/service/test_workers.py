from __future__ import annotations

from store import WorkerFacts, Workers
from tests.service.conftest import Door


def test_living_workers_are_listed(door: Door) -> None:
    assert door.get("/v1/workers").json() == {"items": []}
    with door.store.transaction() as session:
        Workers(session).beat(WorkerFacts("w-1", "host", 42, "cpu", "0.1.0"), "busy", job="job_x")
    (worker,) = door.get("/v1/workers").json()["items"]
    assert worker.pop("seen").endswith("Z")
    assert worker == {
        "id": "w-1",
        "host": "host",
        "pid": 42,
        "device": "cpu",
        "state": "busy",
        "job": "job_x",
        "version": "0.1.0",
    }
