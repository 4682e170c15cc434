"""Unpacking under limits: gzip and zip members, counted in actual bytes, whatever their headers promise."""

from __future__ import annotations

import gzip
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autoencoders.data.formats import GZIP
from autoencoders.data.options import Limits
from autoencoders.errors import DataRefused

_PIECE = 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class Budget:
    """Counts unpacked bytes against the packed ones they came from.

    Args:
        packed: bytes of the packed file or member.
        limits: `max_ratio` and `max_bytes`.
        what: the thing unpacked, for messages.
    """

    def __init__(self, packed: int, limits: Limits, what: str) -> None:
        self._most = min(limits.max_bytes, max(_PIECE, packed * limits.max_ratio))
        self._limits, self._what, self._packed = limits, what, packed
        self.spent = 0

    def spend(self, count: int) -> None:
        """Count more bytes; refuse once they are too many."""
        self.spent += count
        if self.spent > self._most:
            raise DataRefused(
                f"{self._what} unpacks to more than {self._most:,} bytes from {self._packed:,}: at most "
                f"{self._limits.max_ratio} times its size and {self._limits.max_bytes:,} bytes are taken"
            )

    def copy(self, source: gzip.GzipFile | IO[bytes], target: IO[bytes]) -> None:
        """Move everything, counted."""
        while piece := source.read(_PIECE):
            self.spend(len(piece))
            target.write(piece)


def ungzipped(path: Path, scratch: Path, limits: Limits) -> Path:
    """The file itself, or where it is gzip what it unpacks to, in `scratch`."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    if not packed:
        return path
    try:
        with gzip.open(path) as source, scratch.open("wb") as target:
            Budget(path.stat().st_size, limits, "the gzip").copy(source, target)
    except _DAMAGE as error:
        raise DataRefused(f"the gzip is damaged: {error}") from error
    with scratch.open("rb") as file:
        if file.read(2) == GZIP:
            raise DataRefused("gzip within gzip is not read")
    return scratch


@contextmanager
def opened_zip(path: Path, limits: Limits) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive and its files; names and kinds of members that no honest archive has are refused."""
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise DataRefused(f"the zip is damaged: {error}") from error
    with archive:
        members = archive.infolist()
        if len(members) > limits.max_members:
            raise DataRefused(
                f"the zip has {len(members):,} members; at most {limits.max_members:,} are taken"
            )
        for member in members:
            _refuse_dishonest(member)
        files = [member for member in members if not member.is_dir()]
        declared = sum(member.file_size for member in files)
        if declared > limits.max_bytes:
            raise DataRefused(f"the zip declares {declared:,} bytes; at most {limits.max_bytes:,} are taken")
        yield archive, files


def _refuse_dishonest(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if member.flag_bits & 0x1:
        raise DataRefused(f"the zip's member {name!r} is encrypted")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataRefused(f"the zip's member {name!r} is a symbolic link")
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name.partition("/")[0]:
        raise DataRefused(f"the zip's member {name!r} has an absolute or malformed path")
    if ".." in name.split("/"):
        raise DataRefused(f"the zip's member {name!r} points outside of the archive")


def unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, limits: Limits) -> None:
    """Write one member to a path of our own choosing, counted."""
    budget = Budget(member.compress_size, limits, f"the member {member.filename!r}")
    budget.spend(member.file_size)  # what it declares is refused before a byte is unpacked
    budget.spent = 0
    try:
        with archive.open(member) as source, target.open("wb") as file:
            budget.copy(source, file)
    except _DAMAGE as error:
        raise DataRefused(f"the member {member.filename!r} is damaged: {error}") from error


def member_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limits: Limits, budget: Budget) -> bytes:
    """One small member in memory, counted against the archive's budget."""
    try:
        with archive.open(member) as source:
            content = source.read(limits.max_member_bytes + 1)
            # Only a read to the end checks the CRC, and shows that the declared size was a lie.
            if len(content) > limits.max_member_bytes or source.read(1):
                raise DataRefused(
                    f"the member {member.filename!r} is larger than {limits.max_member_bytes:,} bytes"
                )
    except _DAMAGE as error:
        raise DataRefused(f"the member {member.filename!r} is damaged: {error}") from error
    budget.spend(len(content))
    return content
