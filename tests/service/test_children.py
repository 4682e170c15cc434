from __future__ import annotations

import sys
import threading
from pathlib import Path

import psutil
import pytest

from service.children import Bounds, Children, Leash
from service.errors import Busy, ChildFailed, ChildRefused

BOUNDS = Bounds(memory_bytes=1 << 31, wall_seconds=60, file_bytes=1 << 20)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module for children to run; `write` says what it does."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return "what_the_child_does"


def _write(tmp_path: Path, module: str, code: str) -> None:
    (tmp_path / f"{module}.py").write_text(
        "import json, os, sys, time\nasked = json.load(sys.stdin)\n" + code
    )


def test_a_child_answers_what_it_is_asked(tmp_path: Path, module: str) -> None:
    _write(tmp_path, module, "print(json.dumps({'twice': 2 * asked['number']}))")
    assert Children(1).run(module, {"number": 4}, BOUNDS) == {"twice": 8}


def test_a_refusal_comes_back_as_it_was_said(tmp_path: Path, module: str) -> None:
    _write(tmp_path, module, "print(json.dumps({'message': 'odd', 'row': 3, 'column': 'a'})); sys.exit(3)")
    with pytest.raises(ChildRefused, match="odd") as caught:
        Children(1).run(module, {}, BOUNDS)
    assert caught.value.said == {"message": "odd", "row": 3, "column": "a"}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("bytearray(1 << 40)", "memory"),
        ("os.kill(os.getpid(), 11)", "broke"),
        ("raise RuntimeError('secret')", "broke"),
        ("print('no json')", "broke"),
        ("open('large', 'wb').write(b'x' * (1 << 21))", "size"),
    ],
)
def test_a_child_that_breaks_is_a_clear_failure(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, module, code)
    with pytest.raises(ChildFailed) as caught:
        Children(1).run(module, {}, BOUNDS)
    assert caught.value.why == why
    assert "secret" not in str(caught.value)


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path, module: str) -> None:
    _write(tmp_path, module, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    with pytest.raises(ChildFailed, match="time"):
        Children(1).run(module, {}, Bounds(memory_bytes=1 << 31, wall_seconds=1, file_bytes=1 << 20))
    if (tmp_path / "pid").exists():
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_a_child_sees_no_settings(tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_ADMIN_KEY", "secret-secret-secret")
    _write(
        tmp_path, module, "print(json.dumps({'seen': [k for k in os.environ if k.startswith('HOURGLASS')]}))"
    )
    assert Children(1).run(module, {}, BOUNDS) == {"seen": []}


def test_only_so_many_run_at_once(tmp_path: Path, module: str) -> None:
    _write(
        tmp_path,
        module,
        "import pathlib\n"
        "place = pathlib.Path(asked['place'])\n"
        "mine = place / str(os.getpid())\n"
        "mine.write_text('')\n"
        "time.sleep(0.3)\n"
        "seen = len(list(place.iterdir()))\n"
        "mine.unlink()\n"
        "print(json.dumps({'seen': seen}))",
    )
    place = tmp_path / "place"
    place.mkdir()
    children, seen = Children(2), []

    def run() -> None:
        seen.append(children.run(module, {"place": str(place)}, BOUNDS)["seen"])

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 5
    assert max(seen) <= 2


def test_closing_ends_what_runs(tmp_path: Path, module: str) -> None:
    _write(tmp_path, module, f"open({str(tmp_path / 'up')!r}, 'w').close(); time.sleep(600)")
    children, failures = Children(1), []

    def run() -> None:
        try:
            children.run(module, {}, BOUNDS)
        except ChildFailed as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    while not (tmp_path / "up").exists():
        assert thread.is_alive()
    children.close()
    thread.join(30)
    assert [failure.why for failure in failures] == ["stopping"]
    with pytest.raises(ChildFailed, match="stopping"):
        children.run(module, {}, BOUNDS)


def test_memory_is_what_is_written_to_where_the_address_space_says_nothing(
    tmp_path: Path, module: str
) -> None:
    _write(
        tmp_path,
        module,
        "import mmap\n"
        "mapped = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n"
        "kept = bytearray(asked['bytes'])\n"
        "print(json.dumps({'mapped': len(mapped)}))",
    )
    bounds = Bounds(memory_bytes=1 << 28, wall_seconds=60, file_bytes=1 << 20, counted="DATA")
    assert Children(1).run(module, {"bytes": 1 << 20}, bounds) == {"mapped": 1 << 30}
    with pytest.raises(ChildFailed, match="memory"):
        Children(1).run(module, {"bytes": 1 << 29}, bounds)


def test_a_full_house_is_said_where_nobody_wants_to_wait(tmp_path: Path, module: str) -> None:
    _write(tmp_path, module, f"open({str(tmp_path / 'up')!r}, 'w').close(); time.sleep(600)")
    children, leash = Children(1), Leash()
    thread, failures = _in_a_thread(children, module, leash)
    while not (tmp_path / "up").exists():
        assert thread.is_alive()
    with pytest.raises(Busy):
        children.run(module, {}, BOUNDS, wait_seconds=0.01)
    leash.cut()
    thread.join(30)
    assert [failure.why for failure in failures] == ["left"]


def test_a_cut_leash_ends_its_child_and_keeps_another_from_starting(tmp_path: Path, module: str) -> None:
    place = tmp_path / "pid"
    _write(tmp_path, module, f"open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    children, leash = Children(1), Leash()
    thread, _ = _in_a_thread(children, module, leash)
    while not (place.exists() and place.read_text()):
        assert thread.is_alive()
    leash.cut()
    thread.join(30)
    assert not psutil.pid_exists(int(place.read_text()))
    place.unlink()
    with pytest.raises(ChildFailed, match="left"):
        children.run(module, {}, BOUNDS, leash=leash)
    assert not place.exists()


def _in_a_thread(children: Children, module: str, leash: Leash) -> tuple[threading.Thread, list[ChildFailed]]:
    failures: list[ChildFailed] = []

    def run() -> None:
        try:
            children.run(module, {}, BOUNDS, leash=leash)
        except ChildFailed as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failures


def test_the_reader_needs_no_torch() -> None:
    import subprocess

    code = "import sys, autoencoders.data.read_upload; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}
        ).returncode
        == 0
    )
