"""The temporary folders of attempts: one for each, gone with it, swept where a worker was killed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_FOLDER = "attempts"


def attempt_folder(home: Path, job: str, token: int) -> Path:
    """Where an attempt may write; parent and child agree on it without a word."""
    return home / "tmp" / _FOLDER / f"{job}.{token}"


@contextlib.contextmanager
def attempt_scratch(home: Path, job: str, token: int) -> Iterator[Path]:
    """The attempt's folder, made now and removed at the end with all that is in it."""
    folder = attempt_folder(home, job, token)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(home: Path, is_running: Callable[[str, int], bool]) -> list[Path]:
    """Remove the folders of attempts that run nowhere any more, and name them."""
    removed = []
    root = home / "tmp" / _FOLDER
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        job, _, token = folder.name.rpartition(".")
        if token.isdigit() and not is_running(job, int(token)):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed
