"""Which format an upload has: its first bytes decide, and what its sender said must agree with them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal, cast, get_args

from autoencoders.errors import DataRefused

Format = Literal["npy", "npz", "csv", "parquet", "arrow", "images"]

MEDIA_TYPES: dict[str, Format] = {
    "application/x-npy": "npy",
    "application/x-npz": "npz",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
}
GZIP = b"\x1f\x8b"
ARROW_FILE = b"ARROW1"
_HEAD_BYTES = 65_536
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x93NUMPY", "npy"),
    (b"PAR1", "parquet"),
    (ARROW_FILE, "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
)
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a single image is not a dataset: send a zip of images"),
    (b"\xff\xd8\xff", "a single image is not a dataset: send a zip of images"),
    (b"\x89HDF", "HDF5 files are not read: save the array as npy, or the table as Parquet"),
    (b"MATLAB", "MATLAB files are not read: save the array as npy"),
    (b"\xff\xfe", "text must be UTF-8; this is UTF-16"),
    (b"\xfe\xff", "text must be UTF-8; this is UTF-16"),
    (b"%PDF", "a PDF is not a dataset"),
    (b"BZh", "bzip2 is not read: send the file plain or as gzip"),
    (b"\xfd7zXZ", "xz is not read: send the file plain or as gzip"),
    (b"(\xb5/\xfd", "zstd is not read: send the file plain or as gzip"),
)


def format_of_media_type(content_type: str | None) -> Format | None:
    """The format that a Content-Type names, or None where the content has to decide."""
    return MEDIA_TYPES.get((content_type or "").partition(";")[0].strip().lower())


def sniff(path: Path) -> Format:
    """The format of a file's content (which is not gzip any more).

    Raises:
        DataRefused: no format that is read; known ones are named.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise DataRefused("the upload is empty")
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    for magic, reason in _REFUSED:
        if head.startswith(magic):
            raise DataRefused(reason)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(path)
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataRefused("pickled objects are never read: save the array with numpy.save")
    if b"\0" in head:
        raise DataRefused(
            "this is none of the formats that are read: npy, npz, CSV, Parquet, Arrow IPC, zip of images"
        )
    if head.lstrip()[:1] in (b"{", b"["):
        raise DataRefused("JSON is not read as a dataset: send CSV, npy, Parquet or Arrow")
    return "csv"


def agreed(declared: str | None, found: Format) -> Format:
    """The format found, unless another one was declared.

    Raises:
        DataRefused: an unknown format was declared, or another than the content's.
    """
    if declared is not None and declared not in get_args(Format):
        raise DataRefused(f"the format {declared!r} is not read; these are: {', '.join(get_args(Format))}")
    if declared is not None and cast("Format", declared) != found:
        raise DataRefused(f"said to be {declared}, but its content is {found}")
    return found


def _kind_of_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DataRefused(f"the zip is damaged: {error}") from error
    if "[Content_Types].xml" in names:
        raise DataRefused("Office files are not read: save the sheet as CSV")
    return "npz" if names and all(name.endswith(".npy") for name in names) else "images"
