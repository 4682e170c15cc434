"""npy and npz: the header is read by itself and held against the file's size before a number is touched."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autoencoders.data.arrays import Array, rows_per_chunk
from autoencoders.data.canonical import staged
from autoencoders.data.npy_format import read_header
from autoencoders.data.options import ReadOptions
from autoencoders.data.staging import Dtype, RawRows, Stage, Upload
from autoencoders.data.unpacking import opened_zip, unpack_member
from autoencoders.errors import DataRefused

PREFERRED_MEMBERS = ("x", "rows", "x_train", "data")
_MAX_DIMENSIONS = 6


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def features(self) -> int:
        return math.prod(self.shape[1:])


def read_npy(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """An array [rows, *shape]; float32 and uint8 in C order stay where they are and are only checked."""
    header = _header(path)
    dtype: Dtype = "uint8" if header.dtype == np.uint8 else "float32"
    in_place = header.dtype == np.dtype(dtype) and not header.fortran
    target = None if in_place else folder / "upload"
    with Stage(target, dtype, header.features, options.limits) as stage:
        stage.expect(header.shape[0])
        if not (in_place and dtype == "uint8"):  # bytes cannot be wrong
            for block in _blocks(path, header):
                stage.add(block)
    if not in_place:
        return staged(stage, header.shape[1:])
    raw = RawRows(path, dtype, header.features, header.shape[0], header.offset)
    return Upload(raw, header.shape[1:], stage.missing, stage.first_missing)


def read_npz(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """The archive's one array, or the one that is named `x`, `rows`, `x_train` or `data`."""
    member_file = folder / "member"
    with opened_zip(path, options.limits) as (archive, members):
        unpack_member(archive, _chosen(members), member_file, options.limits)
    upload = read_npy(member_file, folder, options)
    if upload.raw.path != member_file:
        member_file.unlink()
    return upload


def _chosen(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    names = {member.filename.removesuffix(".npy"): member for member in members}
    if len(names) != len(members):
        raise DataRefused("the npz has two arrays of one name")
    if len(members) == 1:
        return members[0]
    chosen = [names[name] for name in PREFERRED_MEMBERS if name in names]
    if len(chosen) != 1:
        raise DataRefused(
            f"the npz has the arrays {', '.join(map(repr, names))}: keep one, or name just one of them "
            f"{', '.join(map(repr, PREFERRED_MEMBERS))}"
        )
    return chosen[0]


def _header(path: Path) -> _Header:
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_header(file)
            offset = file.tell()
    except (ValueError, OSError) as error:
        raise DataRefused(f"the npy header cannot be read: {error}") from error
    if dtype.hasobject:
        raise DataRefused("pickled Python objects are never read: save the array as numbers")
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise DataRefused(f"the array's dtype {dtype} is not read: float, integer and boolean arrays are")
    if not 2 <= len(shape) <= _MAX_DIMENSIONS:
        raise DataRefused(
            f"an array must be [rows, features] or [rows, *shape]; this one's shape is {list(shape)}"
        )
    if any(type(extent) is not int or extent < 0 for extent in shape):
        raise DataRefused(f"the array's shape {list(shape)} is impossible")
    promised, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - offset
    if promised != there:
        raise DataRefused(
            f"the header promises {promised:,} bytes (shape {list(shape)}, {dtype}), the file holds {there:,}"
        )
    return _Header(shape, fortran, dtype, offset)


def _blocks(path: Path, header: _Header) -> Iterator[Array]:
    rows, step = header.shape[0], rows_per_chunk(header.features * header.dtype.itemsize)
    with path.open("rb") as file:
        file.seek(header.offset)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            if header.fortran:
                yield _strided(file, header, start, count)
            else:
                values = np.fromfile(file, dtype=header.dtype, count=count * header.features)
                yield values.reshape(count, header.features)


def _strided(file: BinaryIO, header: _Header, start: int, count: int) -> Array:
    """Rows of an array in Fortran order: a piece of every column, read by itself."""
    size, rows = header.dtype.itemsize, header.shape[0]
    block = np.empty((count, header.features), dtype=header.dtype)
    for position in range(header.features):
        file.seek(header.offset + (position * rows + start) * size)
        # Columns come with the first axis fastest; in C order the last one is.
        place = np.unravel_index(position, header.shape[1:], order="F")
        block[:, np.ravel_multi_index(place, header.shape[1:])] = np.fromfile(file, header.dtype, count)
    return block
