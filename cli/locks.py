"""A lock file: one owner at a time by the kernel's word, and the pid of whom it concerns inside."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Held(Exception):
    """Somebody else has the lock; `pid` is what they wrote into it, if anything."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is held by process {pid}")
        self.path, self.pid = path, pid


class LockFile:
    """An flock'ed file with a pid in it.

    The kernel drops the lock however its owner dies; the pid stays, by which a successor finds an orphan.
    The file is never removed: a removed lock file can be held twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            Held: another process has it.
        """
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise Held(self.path, self.read()) from None
        self._file = file

    def read(self) -> int | None:
        """The pid inside, whoever wrote it."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None

    def write(self, pid: int | None) -> None:
        """Say whom it concerns now; None empties it. Only the owner may."""
        if self._file is None:
            raise RuntimeError(f"{self.path} is written by its owner alone")
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"" if pid is None else str(pid).encode(), 0)

    def release(self) -> None:
        """Let go; harmless when it was never taken."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
