"""A zip written as it is sent: none of it is held in memory or on a disk."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator, Mapping
from io import RawIOBase
from pathlib import Path

_PORTION = 1024 * 1024


class _Outlet(RawIOBase):
    """Where a zip is written to: what it holds is taken out and sent on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        portion = bytes(memoryview(data))  # type: ignore[arg-type]  # zipfile writes bytes-like objects alone
        self._parts.append(portion)
        return len(portion)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def zip_folder(folder: Path) -> Iterator[bytes]:
    """A folder as a zip."""
    return zip_files(
        {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    )


def zip_files(files: Mapping[str, Path | bytes]) -> Iterator[bytes]:
    """Files and bytes by the path that they get, sorted.

    Stored and not deflated: weights do not shrink; and without a time, so that equal models give equal bytes.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(entry, "w", force_zip64=True) as target:
                for portion in _portions(files[name]):
                    target.write(portion)
                    yield outlet.take()
            yield outlet.take()
    yield outlet.take()


def _portions(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield from (content[start : start + _PORTION] for start in range(0, len(content), _PORTION))
        return
    with content.open("rb") as source:
        while portion := source.read(_PORTION):
            yield portion
