"""Local files: written whole or not at all, forced to the disk, removed without a fuss."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

UNFINISHED = ".unfinished-"


def place_beside(path: Path, root: Path) -> Path:
    """A new temporary path on the same disk, in the root or its first folder: leftovers are found there."""
    first = root / path.relative_to(root).parts[0]
    folder = first if first != path else root
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return folder / f"{UNFINISHED}{uuid.uuid4().hex}"


def place(source: Path, path: Path, root: Path, *, move: bool) -> None:
    """Copy (or move) a file or folder to a temporary place, force it to the disk, and rename it."""
    unfinished = place_beside(path, root)
    try:
        if not (move and _renamed(source, unfinished)):
            if source.is_dir():
                shutil.copytree(source, unfinished)
            else:
                shutil.copyfile(source, unfinished)
        _sync_tree(unfinished)
        _replace(unfinished, path)
    finally:
        delete(unfinished)
    if move:
        delete(source)


def write(data: bytes, path: Path, root: Path) -> None:
    """Write bytes to a temporary place, force them to the disk, and rename."""
    unfinished = place_beside(path, root)
    try:
        unfinished.write_bytes(data)
        _sync(unfinished)
        _replace(unfinished, path)
    finally:
        delete(unfinished)


def delete(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none, or somebody else removes it too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def newest_change(path: Path) -> float:
    """When anything in a file or folder was last written, in seconds since 1970; 0 where it is gone."""
    newest = 0.0
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        try:
            newest = max(newest, item.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return newest


def tree_bytes(path: Path) -> int:
    """How many bytes a file or folder holds."""
    items = path.rglob("*") if path.is_dir() else [path]
    return sum(item.stat().st_size for item in items if item.is_file())


def _replace(unfinished: Path, path: Path) -> None:
    if path.is_dir():  # which a rename does not replace unless it is empty
        delete(path)
    os.replace(unfinished, path)
    _sync(path.parent)


def _renamed(source: Path, target: Path) -> bool:
    try:
        os.rename(source, target)
    except OSError:  # another disk
        return False
    return True


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for item in path.iterdir():
            _sync_tree(item)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
