"""Bounded child processes: uploads are parsed, and jobs diagnosed, where they can only harm themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from service.errors import Busy, ChildFailed, ChildRefused

# The limits are set by the child itself before it imports anything heavy: a `preexec_fn` may deadlock in a
# process with threads. The parent-death signal takes the child along when the gateway is killed.
_BOOTSTRAP = """
import ctypes, os, resource, runpy, signal, sys
module, counted, parent, memory, cpu, size, files = *sys.argv[1:3], *map(int, sys.argv[3:8])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
for what, limit in ((counted, memory), ("CPU", cpu), ("FSIZE", size), ("NOFILE", files), ("CORE", 0)):
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
# What Python, torch, the C library and libgomp say when they are refused memory, a thread's stack among it.
_OUT_OF_MEMORY = (
    *("MemoryError", "annot allocate", "can't allocate", "realloc", "bad_alloc", "can't start new thread"),
    "Thread creation failed",
)


@dataclass(frozen=True)
class Bounds:
    """What one child may use.

    Attributes:
        memory_bytes: the most memory, as `counted` counts it.
        wall_seconds: from its start; its processor time is bounded by as much for each thread.
        file_bytes: the largest file it may write.
        open_files: files it may hold open.
        threads: of its arithmetic. One by default: as many children as processors may run, and stacks count
            against the address space.
        counted: `AS`, the address space; or `DATA`, what is written to alone, for a child whose libraries
            and maps of read-only files are larger than all that it computes.
    """

    memory_bytes: int
    wall_seconds: int
    file_bytes: int
    open_files: int = 256
    threads: int = 1
    counted: Literal["AS", "DATA"] = "AS"


class Leash:
    """With it, whoever asked for a child ends it from another thread, or keeps it from starting."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.is_cut = False

    def cut(self) -> None:
        """End the child; one that has not started yet will not."""
        with self._lock:
            self.is_cut = True
            if self._child is not None:
                _kill(self._child)

    def hold(self, child: subprocess.Popen[bytes]) -> None:
        """Take a child that has just started."""
        with self._lock:
            self._child = child
            if self.is_cut:
                _kill(child)


class Children:
    """Runs modules in bounded child processes, so many at once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._slots = threading.BoundedSemaphore(at_once)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(
        self,
        module: str,
        request: dict[str, Any],
        bounds: Bounds,
        *,
        wait_seconds: float | None = None,
        leash: Leash | None = None,
    ) -> dict[str, Any]:
        """What the module answered on stdout to the JSON on its stdin.

        Args:
            module: what the child runs.
            request: JSON-able.
            bounds: what it may use.
            wait_seconds: how long to wait while all slots are taken; None waits as long as it takes.
            leash: ends it early.

        Raises:
            ChildRefused: it ended with status 3 and said why.
            ChildFailed: it crashed, ran out of memory or time, or was ended.
            Busy: all slots were taken all the while.
        """
        if not self._slots.acquire(timeout=wait_seconds):
            raise Busy(f"{self._at_once} of these are being worked on; try again")
        try:
            return self._run(module, request, bounds, leash or Leash())
        finally:
            self._slots.release()

    def close(self) -> None:
        """End every child that is still running; later ones are refused."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for child in running:
            _kill(child)

    def _run(self, module: str, request: dict[str, Any], bounds: Bounds, leash: Leash) -> dict[str, Any]:
        if leash.is_cut:
            raise ChildFailed("left")
        child = self._start(module, bounds)
        try:
            leash.hold(child)
            output, errors = child.communicate(orjson.dumps(request), timeout=bounds.wall_seconds)
        except subprocess.TimeoutExpired:
            raise ChildFailed("time") from None
        finally:
            self._end(child)
        if leash.is_cut:
            raise ChildFailed("left")
        if self._closed and child.returncode == -signal.SIGKILL:
            raise ChildFailed("stopping")
        return _answer(child.returncode, output, errors)

    def _start(self, module: str, bounds: Bounds) -> subprocess.Popen[bytes]:
        numbers = (
            os.getpid(),
            bounds.memory_bytes,
            bounds.wall_seconds * bounds.threads,
            bounds.file_bytes,
            bounds.open_files,
        )
        with self._lock:
            if self._closed:
                raise ChildFailed("stopping")
            child = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, module, bounds.counted, *map(str, numbers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**_environment(), **_arithmetic(bounds)},
            )
            self._running.add(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        if child.poll() is None:
            _kill(child)
            child.communicate()
        with self._lock:
            self._running.discard(child)


def _arithmetic(bounds: Bounds) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # Threads that spin at a barrier would starve beside the gateway's own.
    found = {**dict.fromkeys(names, str(bounds.threads)), "GOMP_SPINCOUNT": "2000"}
    if bounds.counted == "DATA":
        # Arrow's own allocator takes hold of a gigabyte at once, which would be counted.
        found["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    return found


def _environment() -> dict[str, str]:
    """The child's environment: what Python needs to start, none of our keys and addresses."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HOURGLASS_")}
    kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return kept


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is not None:
        return
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        child.kill()


def _answer(code: int, output: bytes, errors: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(output)
    except orjson.JSONDecodeError:
        said = None
    if code == _REFUSED and isinstance(said, dict):
        raise ChildRefused(said)
    if code == 0 and isinstance(said, dict):
        return said
    tail = errors[-_ERROR_TAIL:].decode("utf-8", "replace")
    if code == -signal.SIGKILL or any(words in tail for words in _OUT_OF_MEMORY):
        raise ChildFailed("memory", tail)
    if code == -signal.SIGXCPU:
        raise ChildFailed("time", tail)
    if "File too large" in tail or code == -signal.SIGXFSZ:
        raise ChildFailed("size", tail)
    raise ChildFailed("broke", tail)
