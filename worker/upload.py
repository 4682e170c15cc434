"""A folder put among the artifacts, read back file by file and compared with what was sent."""

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
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as sent:
            wanted = hashlib.file_digest(sent, "sha256").hexdigest()
        digest = hashlib.sha256()
        with artifacts.open(f"{key}/{name}") as back:
            while block := back.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != wanted:
            raise ReadBackDiffers(f"{name} of {key} was read back with other content than was written")
