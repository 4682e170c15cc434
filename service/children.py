"""Bounded child processes: an upload is parsed where it can only harm itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import orjson

from autoencoders.errors import DataRefused
from service.errors import ParseFailed

# The limits are set by the child itself before it imports anything heavy: a `preexec_fn` may deadlock in a
# process with threads. The parent-death signal takes the child along when the gateway is killed.
_BOOTSTRAP = """
import ctypes, os, resource, runpy, signal, sys
module, parent, memory, cpu, size, files = sys.argv[1], *map(int, sys.argv[2:7])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
for what, limit in (("AS", memory), ("CPU", cpu), ("FSIZE", size), ("NOFILE", files), ("CORE", 0)):
    kind = getattr(resource, "RLIMIT_" + what)
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    try:
        resource.setrlimit(kind, (limit, limit))
    except (ValueError, OSError):
        if sys.platform == "linux":
            raise
sys.argv = [module]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_ERROR_TAIL = 2000
_REFUSED = 3


@dataclass(frozen=True)
class Bounds:
    """What one child may use."""

    memory_bytes: int
    wall_seconds: int
    file_bytes: int
    open_files: int = 256


class Children:
    """Runs modules in bounded child processes, so many at once."""

    def __init__(self, at_once: int) -> None:
        self._slots = threading.BoundedSemaphore(at_once)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, module: str, request: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
        """What the module answered on stdout to the JSON on its stdin. Blocks while all slots are taken.

        Raises:
            DataRefused: the module refused the data: it ended with status 3 and said why.
            ParseFailed: it crashed, ran out of memory, or took too long.
        """
        with self._slots:
            child = self._start(module, bounds)
            try:
                output, errors = child.communicate(orjson.dumps(request), timeout=bounds.wall_seconds)
            except subprocess.TimeoutExpired:
                raise ParseFailed(f"reading the data took longer than {bounds.wall_seconds} s") from None
            finally:
                self._end(child)
        return _answer(child.returncode, output, errors, bounds)

    def close(self) -> None:
        """End every child that is still running; later ones are refused."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for child in running:
            _kill(child)

    def _start(self, module: str, bounds: Bounds) -> subprocess.Popen[bytes]:
        numbers = (
            os.getpid(),
            bounds.memory_bytes,
            bounds.wall_seconds,
            bounds.file_bytes,
            bounds.open_files,
        )
        # One thread each: as many children as cores may run, and stacks count against the address space.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with self._lock:
            if self._closed:
                raise ParseFailed("the service is stopping")
            child = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, module, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**_environment(), **threads},
            )
            self._running.add(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            _kill(child)
            child.communicate()
        with self._lock:
            self._running.discard(child)


def _environment() -> dict[str, str]:
    """The child's environment: what Python needs to start, none of our keys and addresses."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOURGLASS_")}
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return kept


def _kill(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()


def _answer(code: int, output: bytes, errors: bytes, bounds: Bounds) -> dict[str, Any]:
    try:
        said = orjson.loads(output)
    except orjson.JSONDecodeError:
        said = None
    if code == _REFUSED and isinstance(said, dict):
        raise DataRefused(said["message"], row=said.get("row"), column=said.get("column"))
    if code == 0 and isinstance(said, dict):
        return said
    tail = errors[-_ERROR_TAIL:].decode("utf-8", "replace")
    if "MemoryError" in tail or "Cannot allocate" in tail or "realloc" in tail or code == -signal.SIGKILL:
        raise ParseFailed(
            f"reading the data needs more than the {bounds.memory_bytes:,} bytes of memory it may use"
        )
    if code == -signal.SIGXCPU:
        raise ParseFailed(f"reading the data took longer than {bounds.wall_seconds} s")
    if "File too large" in tail or code == -signal.SIGXFSZ:
        raise ParseFailed(f"the data would grow beyond {bounds.file_bytes:,} bytes")
    raise ParseFailed("the data could not be read: the process that parses them broke")
