"""Child processes that cannot outlive their parent, and how to end them with everything that they started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
AFTER_THE_PARENT_SECONDS = 12.0
"""How long an orphan may take to end by itself; a worker hands its job back within ten."""


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, which gets SIGTERM when this thread dies (on Linux).

    A session of its own keeps the terminal's Ctrl-C from it, so that the parent decides the order of ending.
    Call it from the main thread: the kernel sends the parent-death signal when the *thread* that forked ends.
    """
    return subprocess.Popen(
        [str(part) for part in command],
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        start_new_session=True,
        preexec_fn=_dies_with_parent(),
    )


def _dies_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None  # `follow` does it there, where the child is Python
    # Looked up before the fork: between fork and exec nothing may be loaded.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died between the fork and the line above
            os._exit(1)

    return ask


def end(process: subprocess.Popen[bytes], *, grace_seconds: float) -> None:
    """SIGTERM, then SIGKILL after the grace; whatever it had started in its group goes with it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    kill_group(process.pid)
    process.wait()


def kill_group(pid: int) -> None:
    """SIGKILL for all of a group that `spawn` made; none left is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def follow(parent: int) -> None:
    """End this process soon after `parent` has died: asked first, then killed with its group.

    On Linux the kernel asks, by the parent-death signal; this sees to it that something comes of it.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if not sys.platform.startswith(
            "linux"
        ):  # there the kernel has asked already, and twice means at once
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(AFTER_THE_PARENT_SECONDS)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
