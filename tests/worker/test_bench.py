"""The bench: hints in any number, one job at a time."""

from __future__ import annotations

import sys
import threading
import urllib.request

import pytest

from store import JobRow, JobState, Workers
from tests.worker.house import House, until
from worker.metrics import Metrics, MetricsPort
from worker.presence import Presence, facts_of_this_process
from worker.scratch import attempt_folder, sweep
from worker.tasks import Bench


def failing(job: JobRow) -> list[str]:
    return [sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(1)"]


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def presence(house: House) -> Presence:
    return Presence(house.store, facts_of_this_process("w1", "cpu"))


@pytest.fixture
def bench(house: House, presence: Presence, stopping: threading.Event) -> Bench:
    return Bench(house.ledger, house.watch(failing, stopping), presence, house.metrics, stopping)


def test_one_hint_does_all_the_work_there_is(house: House, bench: Bench) -> None:
    jobs = [house.submit() for _ in range(3)]
    assert bench.work() == 3
    assert {house.row(job).state for job in jobs} == {JobState.FAILED}


def test_a_hint_without_work_is_harmless(bench: Bench) -> None:
    assert bench.work() == 0


def test_hints_that_come_at_once_never_run_two_jobs_at_once(house: House, bench: Bench) -> None:
    jobs = [house.submit() for _ in range(2)]
    threads = [threading.Thread(target=bench.work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (house.row(job) for job in jobs)
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


def test_a_bench_that_is_leaving_claims_nothing(
    house: House, bench: Bench, stopping: threading.Event
) -> None:
    job = house.submit()
    stopping.set()
    assert bench.work() == 0
    assert house.row(job).state is JobState.QUEUED


def test_a_child_that_cannot_be_started_is_a_lost_attempt(
    house: House, presence: Presence, stopping: threading.Event
) -> None:
    job = house.submit()
    watch = house.watch(lambda _job: ["/nowhere/python"], stopping)
    assert Bench(house.ledger, watch, presence, house.metrics, stopping).work() == 3
    assert house.row(job).state is JobState.FAILED
    assert "/nowhere/python" in house.events(job, "warning")[0].data["message"]


def test_a_worker_says_where_it_is_until_it_leaves(house: House, presence: Presence) -> None:
    def seen() -> list[tuple[str, str | None]]:
        with house.store.session() as session:
            return [(row.state, row.job_id) for row in Workers(session).living()]

    presence.start()
    until(lambda: seen() == [("idle", None)])
    presence.at("job_1")
    until(lambda: seen() == [("busy", "job_1")])
    presence.close()
    assert seen() == []


def test_metrics_are_read_on_a_port_of_their_own() -> None:
    metrics = Metrics()
    metrics.ended("succeeded", 2.0)
    port = MetricsPort(metrics, _free_port(), "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port.number}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        port.close()
    assert 'hourglass_worker_attempts_total{outcome="succeeded"} 1.0' in text


def test_folders_of_attempts_that_run_nowhere_are_swept(house: House) -> None:
    house.submit()
    job = house.claim()
    running = attempt_folder(house.settings.home, job.id, job.token)
    stale = attempt_folder(house.settings.home, job.id, job.token + 1)
    unknown = attempt_folder(house.settings.home, "job_unknown", 1)
    for folder in (running, stale, unknown):
        folder.mkdir(parents=True)
    assert sorted(sweep(house.settings.home, house.ledger.is_running)) == sorted([stale, unknown])
    assert running.exists()


def test_waiting_for_the_bench_ends_when_it_is_free(house: House, bench: Bench) -> None:
    house.submit()
    thread = threading.Thread(target=bench.work)
    thread.start()
    until(lambda: not bench.wait_until_free(0.0))
    assert bench.wait_until_free(30.0)
    thread.join()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
