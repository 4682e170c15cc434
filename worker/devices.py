"""Which device a worker serves, with how many threads, and whether a job has room on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

DeviceClass = Literal["cpu", "gpu"]

#: libgomp's default is to spin at barriers for long: beside one busy process a training then falls to a
#: twentieth of its speed, while no spinning at all costs a fifth of it on an idle machine.
GOMP_SPINCOUNT = "2000"

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


class DeviceMissing(Exception):
    """The device that was asked for is not on this machine."""


class NoRoom(Exception):
    """A job needs more memory than its device has free."""

    def __init__(self, needed_bytes: int, free_bytes: int, device: str) -> None:
        super().__init__(
            f"this job needs about {_gigabytes(needed_bytes)} of memory and the {device} has "
            f"{_gigabytes(free_bytes)} free; take narrower layers, a smaller code or a smaller batch"
        )
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes


def device_class(choice: Literal["auto", "cpu", "gpu"]) -> DeviceClass:
    """The class of device that a worker serves. Never imports torch here: a parent must not start CUDA.

    Raises:
        DeviceMissing: a GPU was asked for and torch sees none.
    """
    if choice == "cpu" or (choice == "auto" and not _nvidia_is_here()):
        return "cpu"
    if _torch_sees_cuda():
        return "gpu"
    if choice == "gpu":
        raise DeviceMissing("device is 'gpu', but torch finds no CUDA device on this machine")
    return "cpu"


def thread_count(setting: int | None) -> int:
    """How many threads a training may keep busy: the setting, else the processors this process may use."""
    if setting is not None:
        return setting
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_processors()
    return max(1, min(allowed, quota) if quota is not None else allowed)


def child_environment(device: DeviceClass, threads: int) -> dict[str, str]:
    """What must stand in a child's environment before it imports torch."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": GOMP_SPINCOUNT,
        "CUDA_VISIBLE_DEVICES": gpus[0] if device == "gpu" else "",
    }


def torch_device(device: str) -> str:
    """The name under which torch knows a job's device; for the child alone.

    Raises:
        DeviceMissing: the job is for a GPU and torch sees none.
    """
    if device != "gpu":
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise DeviceMissing("this job is for a GPU, but torch finds no CUDA device on this worker")
    return "cuda"


def free_memory(device: str, limit_bytes: int | None = None) -> int:
    """How many bytes a job may still take on torch's `device`; for the child alone."""
    if device == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info()
    else:
        free = min(_available(), _cgroup_available())
    return int(min(free, limit_bytes) if limit_bytes is not None else free)


def check_room(needed_bytes: int, device: str, limit_bytes: int | None = None) -> None:
    """Refuse a job before its first step, rather than have it killed in the night.

    Raises:
        NoRoom: it needs more than is free.
    """
    free = free_memory(device, limit_bytes)
    if needed_bytes > free:
        raise NoRoom(needed_bytes, free, "GPU" if device == "cuda" else "machine")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _nvidia_is_here() -> bool:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists())


def _torch_sees_cuda() -> bool:
    question = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, timeout=120, check=False)
    return answer.returncode == 0


def _cgroup_processors() -> int | None:
    words = _read(_CGROUP / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return max(1, -(-int(words[0]) // int(words[1])))


def _available() -> int:
    for line in _read(_PROC / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return sys.maxsize


def _cgroup_available() -> int:
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if not limit.isdigit() or not used.isdigit():
        return sys.maxsize
    # Cached pages count as used, but leave as soon as somebody needs the room.
    cached = sum(
        int(line.split()[1])
        for line in _read(_CGROUP / "memory.stat").splitlines()
        if line.startswith("inactive_file ")
    )
    return max(0, int(limit) - int(used) + cached)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
