"""A child process of the worker, held by its process group: start it, tell it, end it, its last words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

#: Signals that mean something to a child. They wait, blocked, until it has installed what answers them.
SPOKEN = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})


class Child:
    """One running child in a session of its own, its standard error kept in a bounded file.

    Start it from a thread that outlives it: a parent-death signal comes when the starting *thread* ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path, stderr_limit_bytes: int) -> None:
        self._process = process
        self._stderr = stderr
        self._limit = stderr_limit_bytes
        self._kept = b""

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stderr: Path,
        stderr_limit_bytes: int = 1_000_000,
    ) -> Child:
        """Start `command`, its standard error appended to the file `stderr`."""
        with stderr.open("ab") as sink, _blocked():
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stderr=sink,
                start_new_session=True,
            )
        return cls(process, stderr, stderr_limit_bytes)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's id too."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status, negative where a signal ended it; None while it runs. Keeps its error file small.

        What it left behind in its process group is ended before it is reaped: until then its number, which is
        the group's, cannot go to a stranger.
        """
        self._bound_stderr()
        if self._process.returncode is None and self._has_ended():
            self._signal_group(signal.SIGKILL)
        return self._process.poll()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it is over already."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self, *, patience_seconds: float = 5.0) -> int:
        """End its whole process group and wait until nothing of it runs; its exit status comes back."""
        if self._process.returncode is not None:
            return self._process.returncode
        deadline = time.monotonic() + patience_seconds
        self._signal_group(signal.SIGKILL)
        status = self._process.wait()
        # A grandchild is reaped by whoever adopted it, not by us: hence a wait with an end.
        while self._signal_group(0) and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    def last_words(self, limit_bytes: int = 4_000) -> str:
        """The end of what it wrote to its standard error."""
        try:
            size = self._stderr.stat().st_size
            with self._stderr.open("rb") as file:
                file.seek(max(0, size - limit_bytes))
                text = self._kept + file.read()
        except FileNotFoundError:
            text = self._kept
        return text[-limit_bytes:].decode("utf-8", "replace").strip()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal_group(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _bound_stderr(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._stderr.stat().st_size > self._limit:
                self._kept = self.last_words(16_000).encode()
                # The child appends, so it goes on at the new end of the file.
                os.truncate(self._stderr, 0)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Start children with the spoken signals blocked, as they would end a Python that is still starting."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SPOKEN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
