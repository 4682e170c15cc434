"""Artifacts: files and folders by key, over fsspec: a local folder, or an object store such as `s3://bucket/prefix`.

A key is `/`-separated words made by us (`models/<job>`); nothing that a user wrote ever becomes a path.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from store import files
from store.cache import Cache
from store.errors import ArtifactMissing, BadName, NoRoom
from store.settings import StoreSettings

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class Artifacts:
    """The files of datasets, jobs and models."""

    def __init__(self, url: str, *, cache: Path, free_disk_floor_bytes: int = 0) -> None:
        # Another process may have written since: nothing is remembered about what lies where.
        self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._local = isinstance(self._files, LocalFileSystem)
        self._root = str(Path(root).resolve()) if self._local else str(root).rstrip("/")
        self._cache = Cache(cache)
        self._floor_bytes = free_disk_floor_bytes
        if self._local:
            Path(self._root).mkdir(parents=True, exist_ok=True)

    @classmethod
    def open_from(cls, settings: StoreSettings) -> Artifacts:
        """The artifacts that these settings name."""
        return cls(
            settings.artifacts, cache=settings.cache, free_disk_floor_bytes=settings.free_disk_floor_bytes
        )

    @property
    def is_local(self) -> bool:
        """Whether `local_copy` answers the artifact itself instead of a copy."""
        return self._local

    def put_folder(self, local: Path, key: str, *, move: bool = False) -> None:
        """Keep a folder under this key, replacing what was there; `move` may take the files themselves."""
        path = self._path(key)
        if self._local:
            files.place(local, Path(path), Path(self._root), move=move)
            return
        self.remove(key)
        for file in sorted(item for item in local.rglob("*") if item.is_file()):
            self._files.put_file(str(file), f"{path}/{file.relative_to(local).as_posix()}")
        if move:
            files.delete(local)

    def put_file(self, local: Path, key: str, *, move: bool = False) -> None:
        """Keep a file under this key, replacing what was there."""
        path = self._path(key)
        if self._local:
            files.place(local, Path(path), Path(self._root), move=move)
            return
        self._cache.remove(key)
        self._files.put_file(str(local), path)
        if move:
            files.delete(local)

    def write(self, key: str, data: bytes) -> None:
        """Keep these bytes under this key, replacing what was there."""
        path = self._path(key)
        if self._local:
            files.write(data, Path(path), Path(self._root))
            return
        self._cache.remove(key)
        self._files.pipe_file(path, data)

    def open(self, key: str) -> BinaryIO:
        """A file to read from; close it."""
        path = self._path(key)
        try:
            return cast("BinaryIO", self._files.open(path, "rb"))
        except (FileNotFoundError, IsADirectoryError) as problem:
            raise ArtifactMissing(key) from problem

    def read(self, key: str) -> bytes:
        """A whole file."""
        with self.open(key) as file:
            return file.read()

    def local_copy(self, key: str) -> Path:
        """A local path with this file or folder: itself where the store is local, else a copy that is kept.

        What lies under a key must not change once it was copied; ours do not (a key holds an id).
        """
        path = self._path(key)
        if not self._local:
            return self._cache.get(key, lambda destination: self._download(key, path, destination))
        if not Path(path).exists():
            raise ArtifactMissing(key)
        return Path(path)

    def exists(self, key: str) -> bool:
        """Whether there is such a file or folder."""
        return bool(self._files.exists(self._path(key)))

    def list(self, key: str) -> Sequence[str]:
        """The names (not keys) of what lies directly under this key, sorted; empty where there is nothing."""
        try:
            entries = self._files.ls(self._path(key), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {PurePosixPath(entry).name for entry in entries}
        return sorted(name for name in names if not name.startswith("."))

    def remove(self, key: str) -> None:
        """Remove a file or folder, and its cached copy; nothing happens where there is none."""
        path = self._path(key)
        if self._local:
            files.delete(Path(path))
            return
        self._cache.remove(key)
        if self._files.exists(path):
            self._files.rm(path, recursive=True)

    def size_bytes(self, key: str) -> int:
        """How many bytes a file or folder holds."""
        path = self._path(key)
        if not self._files.exists(path):
            raise ArtifactMissing(key)
        return int(self._files.du(path, total=True))

    def free_bytes(self) -> int | None:
        """Free space of the disk, where the store is one."""
        return shutil.disk_usage(self._root).free if self._local else None

    def check_room(self, needed_bytes: int = 0) -> None:
        """Nothing, or `NoRoom` where taking this many bytes would leave less than the floor."""
        free_bytes = self.free_bytes()
        if free_bytes is not None and free_bytes - needed_bytes < self._floor_bytes:
            raise NoRoom(free_bytes, self._floor_bytes)

    def check(self) -> str | None:
        """None where the store answers, else what is wrong."""
        try:
            if not self._local:
                self._files.ls(self._root.split("/", 1)[0], detail=False)
            elif not os.access(self._root, os.W_OK | os.X_OK):
                return f"{self._root} cannot be written to"
        except Exception as problem:
            return f"{type(problem).__name__}: {problem}"
        return None

    def tidy(self, *, unfinished_before: float, cache_bytes: int) -> int:
        """Remove leftovers of crashes before this moment (seconds since 1970), and copies beyond the limit.

        Answers how many were removed.
        """
        roots = {Path(self._root), self._cache.folder} if self._local else {self._cache.folder}
        removed = self._cache.trim(cache_bytes)
        for root in roots:
            for path in (*root.glob(f"{files.UNFINISHED}*"), *root.glob(f"*/{files.UNFINISHED}*")):
                if files.newest_change(path) < unfinished_before:
                    files.delete(path)
                    removed += 1
        return removed

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise BadName(
                "artifact's key", key, "words of letters, digits, '.', '_' and '-', separated by '/'"
            )
        return f"{self._root}/{key}"

    def _download(self, key: str, path: str, destination: Path) -> None:
        if self._files.isfile(path):
            self._files.get_file(path, str(destination))
            return
        found = self._files.find(path)
        if not found:
            raise ArtifactMissing(key)
        for file in found:
            target = destination / str(file).removeprefix(path).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(file, str(target))
