"""The parent's side of a job, with children that do whatever a child may do."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from store import JobRow, Jobs, JobState
from tests.worker.house import House, until
from worker import exits

Command = Callable[[JobRow], list[str]]

SLEEP = "import time; time.sleep(60)"
# Says that it is ready, so that a test need not guess when.
READY = "import pathlib, sys, time, signal; ready = lambda: pathlib.Path(sys.argv[2]).touch()\n"
UNBLOCK = "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGUSR1})\n"


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "ready"


def python(code: str, flag: Path | None = None) -> Command:
    return lambda job: [sys.executable, "-c", code, job.id, str(flag)]


def finishing(house: House, job: JobRow) -> str:
    """The code of a child that finishes its row as the real one does."""
    return f"""
from store import Jobs, Store, StoreSettings
store = Store.open(StoreSettings())
with store.transaction() as session:
    Jobs(session).finish({job.id!r}, {job.token}, "succeeded", ended="epochs")
store.close()
"""


def test_a_child_that_finishes_its_row_has_succeeded(house: House) -> None:
    house.submit()
    job = house.claim()
    assert house.watch(python(finishing(house, job))).follow(job) == "succeeded"
    assert house.row(job).state is JobState.SUCCEEDED


def test_a_row_finished_before_the_child_leaves_is_not_taken_for_fencing(house: House) -> None:
    house.submit()
    job = house.claim()
    code = finishing(house, job) + SLEEP
    assert house.watch(python(code), beat_seconds=0.01).follow(job) == "succeeded"


def test_cancelling_kills_the_whole_group_before_the_row_says_so(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    grandchild = f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}, sys.argv[1]])"
    code = f"{READY}import subprocess\n{grandchild}\nready()\n{SLEEP}"
    following = house.follow(job, python(code, flag))
    until(flag.exists)
    processes = [child for child in psutil.Process().children(recursive=True) if job.id in child.cmdline()]
    assert len(processes) == 2
    house.cancel(job)
    until(lambda: house.row(job).state is JobState.CANCELLED)
    assert not [child for child in processes if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert following.outcome() == "cancelled"
    assert [event.type for event in house.events(job)][-2:] == ["state", "done"]


def test_a_child_that_ignores_every_signal_is_cancelled_all_the_same(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    deaf = "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]\n"
    following = house.follow(job, python(f"{READY}{deaf}ready()\n{SLEEP}", flag))
    until(flag.exists)
    house.cancel(job)
    assert following.outcome() == "cancelled"


def test_a_stop_reaches_the_child_as_a_signal_and_once(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    code = f"""{READY}
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
{UNBLOCK}ready()
while not told: time.sleep(0.01)
time.sleep(0.3)
assert told == [1]
{finishing(house, job)}"""
    following = house.follow(job, python(code, flag))
    until(flag.exists)
    house.stop(job)
    assert following.outcome() == "succeeded"


def test_a_signal_that_comes_before_the_child_listens_waits_for_it(house: House) -> None:
    house.submit()
    job = house.claim()
    house.stop(job)
    code = f"""{READY}
time.sleep(0.5)
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
{UNBLOCK}
while not told: time.sleep(0.01)
{finishing(house, job)}"""
    assert house.watch(python(code)).follow(job) == "succeeded"


def test_a_worker_that_leaves_gives_the_job_back_without_counting_the_attempt(
    house: House, flag: Path
) -> None:
    house.submit()
    job = house.claim()
    code = (
        f"{READY}signal.signal(signal.SIGTERM, lambda *_: sys.exit({exits.LEFT}))\n{UNBLOCK}ready()\n{SLEEP}"
    )
    following = house.follow(job, python(code, flag))
    until(flag.exists)
    following.stopping.set()
    assert following.outcome() == "given_back"
    row = house.row(job)
    assert (row.state, row.attempts, row.lost) == (JobState.QUEUED, 0, 0)


def test_a_child_that_does_not_leave_in_time_is_killed_and_the_job_given_back(
    house: House, flag: Path
) -> None:
    house.submit()
    job = house.claim()
    code = f"{READY}signal.signal(signal.SIGTERM, signal.SIG_IGN)\nready()\n{SLEEP}"
    following = house.follow(job, python(code, flag), leave_seconds=0.2)
    until(flag.exists)
    following.stopping.set()
    assert following.outcome() == "given_back"
    assert house.row(job).lost == 0


def test_a_killed_child_is_a_lost_attempt_and_the_third_one_fails_the_job(house: House) -> None:
    house.submit()
    suicide = python(
        "import os, signal, sys; sys.stderr.write('so long'); sys.stderr.flush(); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    for lost in (1, 2, 3):
        job = house.claim()
        assert house.watch(suicide).follow(job) == "lost"
        assert house.row(job).lost == lost
    row = house.row(job)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "worker-lost"
    warnings = house.events(job, "warning")
    assert len(warnings) == 3
    assert "SIGKILL" in warnings[0].data["message"]
    assert "so long" in warnings[0].data["message"]


def test_a_child_that_cannot_reach_the_store_is_a_lost_attempt(house: House) -> None:
    house.submit()
    job = house.claim()
    assert house.watch(python(f"raise SystemExit({exits.UNREACHABLE})")).follow(job) == "lost"
    assert house.row(job).state is JobState.QUEUED


def test_a_child_that_ends_without_a_result_fails_the_job_with_its_last_words(house: House) -> None:
    house.submit()
    job = house.claim()
    assert house.watch(python("raise RuntimeError('no such layer')")).follow(job) == "failed"
    problem = house.row(job).problem
    assert problem is not None
    assert "status 1" in problem["detail"]
    assert "no such layer" in problem["trace"]


def test_what_a_child_says_is_kept_in_a_bounded_file(house: House) -> None:
    house.submit()
    job = house.claim()
    flood = "import sys, time\nfor i in range(40): sys.stderr.write('x' * 100_000); time.sleep(0.01)\n"
    code = flood + "sys.stderr.write('last words'); sys.stderr.flush(); time.sleep(0.2); sys.exit(1)"
    assert house.watch(python(code)).follow(job) == "failed"
    problem = house.row(job).problem
    assert problem is not None
    assert problem["trace"].endswith("last words")
    assert len(problem["trace"]) <= 4_000


def test_a_fenced_child_is_killed_and_nothing_more_is_written(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    following = house.follow(job, python(f"{READY}ready()\n{SLEEP}", flag), beat_seconds=0.05)
    until(flag.exists)
    with house.store.transaction() as session:
        jobs = Jobs(session)
        jobs.give_back(job.id, job.token)
    with house.store.transaction() as session:
        other = Jobs(session).claim_next(worker="w2", devices=["cpu"], lease_seconds=30)
    assert other is not None
    before = house.row(job).events
    assert following.outcome() == "fenced"
    row = house.row(job)
    assert (row.state, row.token, row.events) == (JobState.RUNNING, other.token, before)


def test_the_lease_is_beaten_while_the_child_does_nothing(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    following = house.follow(job, python(f"{READY}ready()\n{SLEEP}", flag), beat_seconds=0.05)
    until(flag.exists)
    first = house.row(job).lease_until
    until(lambda: house.row(job).lease_until != first)
    house.cancel(job)
    assert following.outcome() == "cancelled"


def test_an_attempt_leaves_no_temporary_folder(house: House) -> None:
    house.submit()
    job = house.claim()
    house.watch(python("raise SystemExit(1)")).follow(job)
    assert not list((house.settings.home / "tmp").rglob("*.*"))


def test_the_outcome_of_every_attempt_is_counted(house: House) -> None:
    house.submit()
    job = house.claim()
    house.watch(python("raise SystemExit(1)")).follow(job)
    count = house.metrics.registry.get_sample_value("hourglass_worker_attempts_total", {"outcome": "failed"})
    assert count == 1.0
    assert house.metrics.registry.get_sample_value("hourglass_worker_busy") == 0.0


def test_the_child_is_told_its_threads_and_sees_no_gpu(house: House) -> None:
    house.submit()
    job = house.claim()
    code = """
import os, sys
wanted = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "2000", "CUDA_VISIBLE_DEVICES": ""}
sys.exit({key: os.environ.get(key) for key in wanted} != wanted or os.getsid(0) != os.getpid())
"""
    house.watch(python(code)).follow(job)
    problem = house.row(job).problem
    assert problem is not None
    assert "status 0" in problem["detail"]


def test_the_spoken_signals_are_blocked_only_while_a_child_starts(house: House) -> None:
    house.submit()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    house.watch(python("pass")).follow(house.claim())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_database_that_is_away_for_a_while_costs_no_attempt(house: House, flag: Path) -> None:
    house.submit()
    job = house.claim()
    following = house.follow(job, python(f"{READY}ready()\n{SLEEP}", flag), beat_seconds=0.05)
    until(flag.exists)
    away = {"result": "database_away"}
    with contextlib.closing(sqlite3.connect(house.settings.home / "hourglass.db", timeout=60)) as locked:
        locked.execute("BEGIN IMMEDIATE")
        until(lambda: house.metrics.registry.get_sample_value("hourglass_worker_beats_total", away))
        locked.rollback()
    assert house.row(job).state is JobState.RUNNING
    house.cancel(job)
    assert following.outcome() == "cancelled"
    assert house.row(job).attempts == 1
