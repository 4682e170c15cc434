"""Cache: local copies of remote artifacts, whole or not at all, the least recently used out first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from store.files import delete, newest_change, place_beside, tree_bytes

# Whoever asked for a copy this recently may not have opened it yet.
_SPARED_SECONDS = 3600.0


class Cache:
    """A folder of copies by key; what lies under a key never changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, download: Callable[[Path], None]) -> Path:
        """The copy of this key, downloaded first where it is missing; any number may ask at once."""
        copy = self.folder / key
        if not copy.exists():
            unfinished = place_beside(copy, self.folder)
            try:
                download(unfinished)
                _publish(unfinished, copy)
            finally:
                delete(unfinished)
        os.utime(copy)
        return copy

    def remove(self, key: str) -> None:
        """Forget a copy."""
        delete(self.folder / key)

    def trim(self, limit_bytes: int) -> int:
        """Remove copies, the least recently used first, until the rest fit; answers how many."""
        copies = sorted(self._copies(), key=lambda copy: copy.stat().st_mtime)
        sizes = {copy: tree_bytes(copy) for copy in copies}
        total, removed = sum(sizes.values()), 0
        for copy in copies:
            if total <= limit_bytes or newest_change(copy) > time.time() - _SPARED_SECONDS:
                break
            delete(copy)
            total -= sizes[copy]
            removed += 1
        return removed

    def _copies(self) -> Iterator[Path]:
        """Everything that stands two levels down, as `models/<job>` does."""
        return (path for path in self.folder.glob("*/*") if not path.name.startswith("."))


def _publish(unfinished: Path, copy: Path) -> None:
    try:
        os.replace(unfinished, copy)
    except OSError:
        if not copy.exists():  # else somebody was faster, and theirs is the same
            raise
