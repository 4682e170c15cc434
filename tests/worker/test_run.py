"""The child's entry: what it refuses, and how it is tied to its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from store import ids
from tests.worker.house import House, until
from worker import exits


def call(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.run", *arguments],
        env={**os.environ, **house.settings.as_environment()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [(), ("job",), ("job", "1", "more"), ("job", "one"), ("job", "0")])
def test_wrong_arguments_end_with_the_usage(house: House, arguments: tuple[str, ...]) -> None:
    answer = call(house, *arguments)
    assert answer.returncode == exits.WRONG_CALL
    assert "usage: python -m worker.run JOB TOKEN" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_job_that_is_not_there_is_named(house: House) -> None:
    identity = ids.new("job")
    answer = call(house, identity, "1")
    assert answer.returncode == exits.WRONG_CALL
    assert identity in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_attempt_that_does_not_hold_the_job_writes_nothing(house: House) -> None:
    house.submit()
    job = house.claim()
    before = house.row(job)
    answer = call(house, job.id, str(job.token + 1))
    assert answer.returncode == exits.FENCED
    after = house.row(job)
    assert (after.events, after.revision) == (before.events, before.revision)


def test_a_child_dies_with_its_parent() -> None:
    child = "import time, worker.run as run; run.die_with_parent(); print(flush=True); time.sleep(60)"
    parent = f"""
import os, subprocess, sys
environment = {{**os.environ, "HOURGLASS_WATCHER": str(os.getpid())}}
command = [sys.executable, "-c", {child!r}]
child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        orphan = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, seconds=10)


def test_a_child_whose_parent_went_before_it_looked_does_not_begin() -> None:
    code = "from worker.run import die_with_parent; die_with_parent()"
    environment = {**os.environ, "HOURGLASS_WATCHER": "1"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
    assert answer.returncode == exits.FENCED


def test_the_child_speaks_before_it_has_imported_torch() -> None:
    code = "import sys, worker.begin; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_job_gives_way_to_others_on_its_cores(house: House) -> None:
    code = """
import os
from worker.run import give_way
before = os.nice(0)
give_way(int(os.environ["HOURGLASS_CHILD_NICENESS"]))
print(os.nice(0) - before)
"""
    environment = dict(house.watch()._environment())
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, start_new_session=True, timeout=60, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert int(answer.stdout) == house.settings.niceness == 10
