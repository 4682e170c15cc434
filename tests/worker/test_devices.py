"""Which device, how many threads, how much room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker import devices


def test_a_machine_without_a_gpu_serves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.device_class("auto") == "cpu"


def test_a_gpu_that_is_asked_for_and_missing_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(devices.DeviceMissing, match="no CUDA device"):
        devices.device_class("gpu")


def test_threads_are_the_setting_else_what_the_process_may_use() -> None:
    assert devices.thread_count(3) == 3
    assert 1 <= devices.thread_count(None) <= len(os.sched_getaffinity(0))


def test_a_container_counts_the_processors_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert devices.thread_count(None) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert devices.thread_count(None) == len(os.sched_getaffinity(0))


def test_a_container_has_the_room_of_its_own_limit_and_cache_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 700000\ninactive_file 200000\n")
    assert devices.free_memory("cpu") == 300_000


def test_a_job_without_room_is_refused_with_both_figures() -> None:
    devices.check_room(1_000, "cpu", limit_bytes=2_000)
    with pytest.raises(devices.NoRoom, match=r"3 GB.*2 GB"):
        devices.check_room(3_000_000_000, "cpu", limit_bytes=2_000_000_000)


def test_a_cpu_child_is_shown_no_gpu_and_a_gpu_child_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert devices.child_environment("cpu", 2)["CUDA_VISIBLE_DEVICES"] == ""
    assert devices.child_environment("gpu", 2)["CUDA_VISIBLE_DEVICES"] == "2"
    assert devices.child_environment("gpu", 2)["OMP_NUM_THREADS"] == "2"


def test_the_parent_comes_without_torch_and_numpy() -> None:
    code = "import sys, worker.app; sys.exit(' '.join({'torch', 'numpy'} & {*sys.modules}) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
