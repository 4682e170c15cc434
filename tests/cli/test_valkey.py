from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from cli.errors import Refused
from cli.processes import end
from cli.valkey import Valkey
from tests.system.house import clean_environment, eventually


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # Not under tmp_path: the kernel allows a socket's path about 107 bytes.
    with tempfile.TemporaryDirectory() as short:
        yield Path(short) / "own" / "b.sock"


@pytest.fixture
def valkey(tmp_path: Path, socket_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "broker", socket_path)
    yield server
    server.stop()


def _client(path: Path) -> Any:
    return redis.Redis(unix_socket_path=str(path))


def _owner(folder: Path, path: Path, *, dies_with_us: bool = True) -> tuple[subprocess.Popen[str], int]:
    """A process that has a server on the folder, and the server's pid."""
    program = f"""
        import signal, cli.processes
        if not {dies_with_us}:
            cli.processes._dies_with_parent = lambda: None  # as on a system without a parent-death signal
        from pathlib import Path
        from cli.valkey import Valkey
        print(Valkey(Path({str(folder)!r}), Path({str(path)!r})).start().pid, flush=True)
        signal.pause()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        said = owner.stdout.readline()
    if not said.strip():
        owner.kill()
        owner.wait()
        pytest.fail("the owner did not start its server")
    return owner, int(said)


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_was_queued_is_found_again_after_an_ordinary_end(valkey: Valkey, socket_path: Path) -> None:
    valkey.start()
    with _client(socket_path) as client:
        client.rpush("cpu", "a hint")
    valkey.stop()
    assert not socket_path.parent.exists(), "nothing is left where it listened"
    valkey.start()
    with _client(socket_path) as client:
        assert client.lrange("cpu", 0, -1) == [b"a hint"]


def test_only_its_owner_reaches_it(valkey: Valkey, tmp_path: Path, socket_path: Path) -> None:
    valkey.start()
    assert socket_path.stat().st_mode & 0o777 == 0o700
    assert socket_path.parent.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "broker").stat().st_mode & 0o777 == 0o700
    with _client(socket_path) as client:
        assert client.config_get("port") == {"port": "0"}


def test_it_never_drops_what_is_queued_to_save_memory(valkey: Valkey, socket_path: Path) -> None:
    valkey.start()
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    with _client(socket_path) as client:
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}


def test_a_killed_server_starts_again_over_its_stale_socket(valkey: Valkey, socket_path: Path) -> None:
    process = valkey.start()
    with _client(socket_path) as client:
        client.rpush("cpu", "a hint")
    process.kill()
    process.wait()
    assert socket_path.exists()
    valkey.start()
    with _client(socket_path) as client:
        assert client.lrange("cpu", 0, -1) == [b"a hint"]


def test_a_second_start_on_the_same_folder_is_refused(
    valkey: Valkey, tmp_path: Path, socket_path: Path
) -> None:
    process = valkey.start()
    with pytest.raises(Refused, match=f"in use.*{process.pid}"):
        Valkey(tmp_path / "broker", socket_path).start()
    assert valkey.answers()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path, socket_path: Path) -> None:
    owner, server = _owner(tmp_path / "broker", socket_path)
    owner.kill()
    owner.wait()
    eventually(lambda: _is_gone(server), "the server to end with its parent", seconds=20)


def test_an_orphan_of_an_earlier_instance_is_ended_and_its_queue_taken_over(
    valkey: Valkey, tmp_path: Path, socket_path: Path
) -> None:
    owner, orphan = _owner(tmp_path / "broker", socket_path, dies_with_us=False)
    with _client(socket_path) as client:
        client.rpush("cpu", "a hint")
    owner.kill()
    owner.wait()
    assert psutil.pid_exists(orphan)
    process = valkey.start()
    assert process.pid != orphan
    assert _is_gone(orphan)
    with _client(socket_path) as client:
        assert client.lrange("cpu", 0, -1) == [b"a hint"]


def test_a_pid_that_was_given_to_another_program_is_left_alone(valkey: Valkey, tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        (tmp_path / "broker").mkdir()
        (tmp_path / "broker" / "lock").write_text(str(bystander.pid))
        valkey.start()
        assert bystander.poll() is None
    finally:
        end(bystander, grace_seconds=5)


def test_a_frozen_server_is_killed_when_it_does_not_end(valkey: Valkey) -> None:
    process = valkey.start()
    os.kill(process.pid, signal.SIGSTOP)
    valkey.stop()
    assert _is_gone(process.pid)


def test_a_damaged_queue_file_is_set_aside(valkey: Valkey, tmp_path: Path, socket_path: Path) -> None:
    valkey.start()
    with _client(socket_path) as client:
        client.rpush("cpu", "a hint")
    valkey.stop()
    [file] = (tmp_path / "broker" / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"no append-only file\r\n" + file.read_bytes())
    valkey.start()
    assert valkey.answers()
    assert list((tmp_path / "broker").glob("appendonlydir.damaged-*"))


def test_a_folder_of_somebody_elses_making_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot use the folder"):
        Valkey(tmp_path / "broker", tmp_path / "file" / "b.sock").start()
