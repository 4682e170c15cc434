"""Files put among the artifacts, read back and compared with what was sent."""

from __future__ import annotations

import hashlib
from pathlib import Path

from store.artifacts import Artifacts


class ReadBackDiffers(Exception):
    """What was read back is not what was written: the disk or the object store is not to be trusted."""


def keep_folder(artifacts: Artifacts, folder: Path, key: str) -> None:
    """Put `folder` under `key`, then read every file back from there.

    Raises:
        ReadBackDiffers: a file's SHA-256 is another one than that of the local file.
    """
    artifacts.put_folder(folder, key)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as sent:
            wanted = hashlib.file_digest(sent, "sha256").hexdigest()
        _compare(artifacts, f"{key}/{path.relative_to(folder).as_posix()}", wanted)


def keep_file(artifacts: Artifacts, path: Path, key: str) -> str:
    """Move the file `path` under `key`, read it back from there, and answer its SHA-256.

    Raises:
        ReadBackDiffers: its SHA-256 is another one than before.
    """
    with path.open("rb") as sent:
        wanted = hashlib.file_digest(sent, "sha256").hexdigest()
    artifacts.put_file(path, key, move=True)
    _compare(artifacts, key, wanted)
    return wanted


def _compare(artifacts: Artifacts, key: str, wanted: str) -> None:
    digest = hashlib.sha256()
    with artifacts.open(key) as back:
        while block := back.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != wanted:
        raise ReadBackDiffers(f"{key} was read back with other content than was written")
