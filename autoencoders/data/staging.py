"""Rows on their way in: checked, cast and kept in upload order, until it is known which of them are held out.

Nothing is mapped into memory, so that a limit on a process's address space bounds it whatever an upload's
size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from autoencoders.data.arrays import Array, Integers, rows_per_chunk
from autoencoders.data.manifest import Column
from autoencoders.data.options import Limits
from autoencoders.errors import DataRefused

Dtype = Literal["float32", "uint8"]


@dataclass(frozen=True)
class RawRows:
    """C-order rows of one dtype in a file, after `offset` bytes of something else."""

    path: Path
    dtype: Dtype
    features: int
    rows: int
    offset: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.features * np.dtype(self.dtype).itemsize

    def chunks(self) -> Iterator[Array]:
        """The rows from the first to the last, [n, features] at a time."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            per_chunk, left = rows_per_chunk(self.row_bytes), self.rows
            while left:
                count = min(per_chunk, left)
                values = np.fromfile(file, dtype=self.dtype, count=count * self.features)
                if len(values) != count * self.features:
                    raise DataRefused("the file ends before its last row")
                yield values.reshape(count, self.features)
                left -= count


@dataclass
class Upload:
    """A whole upload at rest, in upload order.

    Attributes:
        missing: missing cells per feature (NaN in `raw`).
        columns: of a table, in file order, without statistics.
        groups: the names of the groups that `group_codes` (a file of int32, one a row) counts by.
        times: a file of float64, one a row; `times_are_moments` says that they are microseconds since 1970.
        ids: an Arrow IPC file of the id columns.
    """

    raw: RawRows
    shape: tuple[int, ...]
    missing: Integers
    first_missing: tuple[int, int] | None = None
    columns: list[Column] | None = None
    groups: Sequence[str] = ()
    group_codes: Path | None = None
    times: Path | None = None
    times_are_moments: bool = False
    ids: Path | None = None

    def feature_name(self, feature: int) -> str | int:
        """The column's name, or the feature's number."""
        if self.columns is None:
            return feature
        return [column.name for column in self.columns if column.role == "use"][feature]


@dataclass
class Stage:
    """Takes blocks of rows in upload order and lays them down as float32 or uint8.

    Args:
        path: the file to write, or None where the rows lie somewhere already and are only checked.
        dtype: of the canonical rows.
        features: numbers in a row.
        limits: bounds on what is written.
        names: of the features, for messages.
    """

    path: Path | None
    dtype: Dtype
    features: int
    limits: Limits
    names: Sequence[str] | None = None
    rows: int = 0
    missing: Integers = field(init=False)
    first_missing: tuple[int, int] | None = None
    _file: BinaryIO | None = None

    def __post_init__(self) -> None:
        if self.features < 1:
            raise DataRefused("there is nothing to train on: no columns")
        if self.features > self.limits.max_features:
            raise DataRefused(
                f"a row has {self.features:,} numbers; at most {self.limits.max_features:,} are taken"
            )
        self.missing = np.zeros(self.features, dtype=np.int64)

    def __enter__(self) -> Stage:
        self._file = None if self.path is None else self.path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def expect(self, rows: int) -> None:
        """Refuse a declared number of rows before any of them is read."""
        row_bytes = self.features * np.dtype(self.dtype).itemsize
        if rows > self.limits.max_rows:
            raise DataRefused(f"{rows:,} rows; at most {self.limits.max_rows:,} are taken")
        if rows * row_bytes > self.limits.max_bytes:
            raise DataRefused(
                f"{rows:,} rows of {row_bytes:,} bytes are over the limit of {self.limits.max_bytes:,} bytes"
            )

    def add(self, block: Array) -> None:
        """Check and keep rows [n, features] of any numeric type; NaN is a missing cell."""
        self.expect(self.rows + len(block))
        if block.dtype.kind in "fiu" and not (block.dtype == np.uint8 and self.dtype == "uint8"):
            block = self._cast(block)
        elif block.dtype.kind == "b":
            block = block.astype(self.dtype)
        if self._file is not None:
            np.ascontiguousarray(block).tofile(self._file)
        self.rows += len(block)

    def _cast(self, block: Array) -> Array:
        with np.errstate(over="ignore"):
            cast = np.ascontiguousarray(block, dtype=np.float32)
        finite = np.isfinite(cast)
        if not finite.all():
            self._look_at(block, cast, finite)
        if self.dtype == "uint8":
            return np.nan_to_num(cast).astype(np.uint8)
        return cast

    def _look_at(self, block: Array, cast: Array, finite: Array) -> None:
        holes = np.isnan(cast)
        wrong = ~finite & ~holes
        if wrong.any():
            row, feature = (int(place) for place in np.argwhere(wrong)[0])
            value = block[row, feature]
            what = "is not finite" if np.isinf(value) else "is too large for float32"
            name = feature if self.names is None else self.names[feature]
            raise DataRefused(f"{value} {what}", row=self.rows + row, column=name)
        self.missing += holes.sum(axis=0)
        if self.first_missing is None:
            row, feature = (int(place) for place in np.argwhere(holes)[0])
            self.first_missing = (self.rows + row, feature)
