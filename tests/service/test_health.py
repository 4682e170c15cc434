from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from service.errors import SettingsRefused
from store import WorkerFacts, Workers
from tests.service.conftest import Door, Opens, settings_for
from tests.system.house import eventually


def test_it_lives(door: Door) -> None:
    assert door.get("/health/live").json() == {"live": True}


def test_without_broker_and_worker_it_is_ready_and_says_what_is_wrong(door: Door) -> None:
    answer = door.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json()["ready"] is True
    parts = answer.json()["parts"]
    assert list(parts) == ["database", "artifacts", "broker", "workers"]
    assert parts["database"] is None
    assert parts["artifacts"] is None
    assert "broker" in parts["broker"]
    assert "worker" in parts["workers"]


def test_a_living_worker_is_no_complaint(door: Door) -> None:
    with door.store.transaction() as session:
        Workers(session).beat(WorkerFacts("w", "host", 1, "cpu", "0"), "idle")
    assert door.get("/health/ready").json()["parts"]["workers"] is None


def test_without_its_artifacts_it_is_not_ready(door: Door, home: Path) -> None:
    shutil.rmtree(home / "artifacts")
    answer = door.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["parts"]["artifacts"]


def test_without_its_database_it_is_not_ready(door: Door, home: Path) -> None:
    def replaced() -> bool:
        door.store.engine.dispose()
        for file in home.glob("hourglass.db*"):
            file.unlink(missing_ok=True)
        # The caretaker may open a new one in between.
        with contextlib.suppress(FileExistsError):
            (home / "hourglass.db").mkdir()
            return True
        return False

    eventually(replaced, "a folder in the database's place")
    answer = door.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["parts"]["database"]


def test_metrics_count_requests(door: Door) -> None:
    door.get("/v1/jobs")
    text = door.get("/metrics").text
    assert 'hourglass_requests_total{method="GET",route="/v1/jobs",status="200"}' in text
    assert door.get("/metrics").headers["content-type"].startswith("text/plain")


def test_a_database_without_tables_is_refused_at_start(tmp_path: Path) -> None:
    from service.app import create_app

    with pytest.raises(SettingsRefused, match="hourglass migrate"):
        create_app(settings_for(tmp_path / "new"))


def test_event_streams_and_requests_have_an_id(opens: Opens) -> None:
    with opens() as door:
        assert (
            door.get("/health/live", headers={"X-Request-ID": "abc-123"}).headers["x-request-id"] == "abc-123"
        )
        made = door.get("/health/live", headers={"X-Request-ID": "no good\n"[:7] + '"'}).headers[
            "x-request-id"
        ]
        assert len(made) == 32
