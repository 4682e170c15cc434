"""`hourglass up` as a process: what it starts, keeps alive, refuses, ends and leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.system.house import House, eventually, free_port, hourglass

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("up") / "home") as house:
        yield house


@pytest.fixture
def own_house(tmp_path: Path) -> Iterator[House]:
    """Not started yet, and nobody else's."""
    house = House(tmp_path / "home")
    yield house
    house.destroy()


def _restarted(house: House, name: str, old: psutil.Process) -> psutil.Process:
    """The successor of a process that was killed."""

    def ask() -> psutil.Process | None:
        with contextlib.suppress(AssertionError, ValueError):
            new: psutil.Process = getattr(house, name)()
            return new if new.pid != old.pid else None
        return None

    return eventually(ask, f"the {name} to be started again\n{house.tail()}", seconds=20)


@pytest.mark.parametrize("name", ["gateway", "worker", "broker"])
def test_what_is_killed_is_started_again(house: House, name: str) -> None:
    old: psutil.Process = getattr(house, name)()
    os.kill(old.pid, signal.SIGKILL)
    new = _restarted(house, name, old)
    assert new.is_running()
    eventually(
        lambda: (parts := house.parts()) and not any(parts.values()),
        f"every part of the house to be well again: {house.parts()}",
    )
    eventually(
        lambda: [each for each in house.workers() if each["pid"] == house.worker().pid],
        "its worker to report",
    )


def test_a_caller_waits_while_the_gateway_is_started_again(house: House) -> None:
    old = house.gateway()
    os.kill(old.pid, signal.SIGKILL)
    eventually(
        lambda: not psutil.pid_exists(old.pid) or old.status() == psutil.STATUS_ZOMBIE, "the gateway to die"
    )
    # A line of its own: those that were open have died with the old one.
    assert httpx.get(f"{house.url}/health/live", timeout=60).status_code == 200


def test_the_children_have_groups_of_their_own_so_that_a_ctrl_c_reaches_the_parent_alone(
    house: House,
) -> None:
    groups = {os.getpgid(each.pid) for each in (house.gateway(), house.worker(), house.broker())}
    assert len(groups) == 3
    assert os.getpgid(house.pid) not in groups


def test_waiting_threads_sleep_in_every_child(house: House) -> None:
    for child in (house.gateway(), house.worker()):
        assert child.environ()["GOMP_SPINCOUNT"] == "2000"


def _welcome(house: House) -> str:
    """What it has said once it has said all of its welcome, which may come after its first answers."""
    last = "is found again by the next `hourglass up`"
    return eventually(lambda: said if last in (said := house.log.read_text()) else None, "its welcome")


def test_it_says_what_it_started_and_what_to_try(house: House) -> None:
    said = _welcome(house)
    assert f"the house is open at {house.url}" in said
    assert str(house.home) in said
    assert f"curl -s {house.url}/v1/jobs" in said


def test_the_commands_that_it_names_run_as_they_stand(house: House, tmp_path: Path) -> None:
    lines = [line.strip() for line in _welcome(house).splitlines() if line.strip().startswith("curl ")]
    submit, look, encode = lines[:3]
    answered = subprocess.run(["bash", "-c", submit], capture_output=True, text=True, check=True).stdout
    assert '"job_' in answered, answered
    job = eventually(lambda: house.get("/v1/jobs?limit=1")["items"], "the job")[0]["id"]
    assert house.finished(job)["state"] == "succeeded"
    assert job in subprocess.run(["bash", "-c", look], capture_output=True, text=True, check=True).stdout
    assert (
        '"codes"' in subprocess.run(["bash", "-c", encode], capture_output=True, text=True, check=True).stdout
    )


def test_a_second_instance_on_the_same_folder_is_refused_with_the_firsts_pid(
    house: House, tmp_path: Path
) -> None:
    outcome = hourglass("up", cwd=tmp_path, HOURGLASS_HOME=str(house.home), HOURGLASS_PORT=str(free_port()))
    assert outcome.returncode == 2
    assert outcome.stderr.count("\n") == 1
    assert str(house.home) in outcome.stderr
    assert f"process {house.pid}" in outcome.stderr
    assert house.is_ready()


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_taken_port_is_refused_before_anything_is_started(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        home = tmp_path / "home"
        hourglass("migrate", cwd=tmp_path, HOURGLASS_HOME=str(home))
        outcome = hourglass(command, cwd=tmp_path, HOURGLASS_HOME=str(home), HOURGLASS_PORT=str(port))
    assert outcome.returncode == 2
    line = f"127.0.0.1:{port} is taken by another process; set HOURGLASS_HOST and HOURGLASS_PORT to another"
    assert outcome.stderr == f"hourglass: {line}\n"
    assert not (home / "broker").exists()


@pytest.mark.parametrize("command", [("up",), ("migrate",), ("keys", "list")])
def test_a_folder_that_cannot_be_written_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = hourglass(*command, cwd=tmp_path, HOURGLASS_HOME=str(tmp_path / "file" / "home"))
    assert outcome.returncode == 2
    assert "HOURGLASS_HOME" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_an_open_address_without_a_key_is_refused_and_nothing_stays(own_house: House, tmp_path: Path) -> None:
    outcome = hourglass(
        "up",
        cwd=tmp_path,
        HOURGLASS_HOST="0.0.0.0",
        HOURGLASS_HOME=str(own_house.home),
        HOURGLASS_PORT=str(own_house.port),
    )
    assert outcome.returncode == 2
    assert "HOURGLASS_ADMIN_KEY" in outcome.stderr, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not own_house.processes()


def test_sigterm_ends_all_and_a_second_start_finds_the_data_again(own_house: House) -> None:
    house = own_house.open()
    job = house.submit(model="kept", training={"epochs": 1})
    assert house.finished(job)["state"] == "succeeded"
    house.signal(signal.SIGTERM)
    assert house.wait() == 0
    assert not house.processes()
    house.open()
    assert house.job(job)["state"] == "succeeded"
    assert house.get("/v1/models/kept")["version"] == 1
    assert house.client.post("/v1/models/kept/encode", json={"inputs": [[0.5] * 64]}).status_code == 200
    assert house.close() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_a_killed_parent_leaves_no_process(own_house: House) -> None:
    house = own_house.open()
    job = house.submit(model="interrupted", training={"epochs": 100_000, "early_stopping": None})
    house.in_mid_training(job)
    assert len(house.processes()) >= 5  # parent, broker, worker, the job's child, gateway
    house.signal(signal.SIGKILL)
    house.wait()
    eventually(lambda: not house.processes(), f"all to be gone: {house.processes()}", seconds=40)
    house.open()  # neither a lock nor a socket nor the job is stuck
    house.in_mid_training(job)
    assert house.client.post(f"/v1/jobs/{job}/cancel").status_code in (200, 202)
    assert house.finished(job)["state"] == "cancelled"
    assert house.close() == 0


def test_an_impatient_second_ctrl_c_ends_it_at_once(own_house: House) -> None:
    house = own_house
    house.start()
    eventually(
        lambda: "process=worker" in house.tail() or "worker started" in house.tail(), "a worker", seconds=120
    )
    house.signal(signal.SIGINT)
    house.signal(signal.SIGINT)
    house.wait()
    assert not house.processes()
