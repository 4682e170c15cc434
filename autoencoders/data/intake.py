"""A table's batches on their way in: numbers to the stage, ids beside, groups and times for the split."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autoencoders.data.arrays import Array, Floats
from autoencoders.data.canonical import staged
from autoencoders.data.columns import Plan
from autoencoders.data.ids import IdWriter
from autoencoders.data.options import ReadOptions
from autoencoders.data.split import microseconds
from autoencoders.data.staging import Dtype, Stage, Upload
from autoencoders.errors import DataRefused

_TEMPORAL = (pa.types.is_timestamp, pa.types.is_date)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type can be trained on as it is."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(test(kind) for test in tests)


def numbers(column: pa.Array) -> Array:
    """A numeric column as numpy; nulls become NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


class TableIntake:
    """Takes batches in upload order; `finish` gives the upload.

    Args:
        plan: the columns' roles.
        folder: where the files of the way are written.
        options: limits.
        dtype: of the canonical rows.
        id_types: Arrow types of the id columns, where known.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        options: ReadOptions,
        dtype: Dtype,
        id_types: Mapping[str, pa.DataType],
    ) -> None:
        self.plan, self._folder = plan, folder
        self._used = plan.named("use")
        self.stage = Stage(folder / "upload", dtype, len(self._used), options.limits, names=self._used)
        id_names = plan.named("id")
        self._ids = IdWriter(folder / "ids", id_names, id_types) if id_names else None
        self._groups: dict[str, int] = {}
        self._moments: bool | None = None
        self._codes: BinaryIO | None = None
        self._times: BinaryIO | None = None

    def __enter__(self) -> TableIntake:
        self.stage.__enter__()
        if self._ids is not None:
            self._ids.__enter__()
        self._codes = None if self.plan.group is None else (self._folder / "groups").open("wb")
        self._times = None if self.plan.time is None else (self._folder / "times").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self.stage.__exit__()
        if self._ids is not None:
            self._ids.__exit__()
        for file in (self._codes, self._times):
            if file is not None:
                file.close()

    def add(self, batch: Mapping[str, pa.Array], block: Array) -> None:
        """Keep a batch.

        Args:
            batch: the columns that are not numbers to train on, by name.
            block: the used columns, [n, features].
        """
        if self._codes is not None and self.plan.group is not None:
            self._group(batch[self.plan.group]).tofile(self._codes)
        if self._times is not None and self.plan.time is not None:
            self._time(batch[self.plan.time], self.plan.time).tofile(self._times)
        if self._ids is not None:
            self._ids.add(batch)
        self.stage.add(block)

    def finish(self, shape: tuple[int, ...] | None = None) -> Upload:
        """What was taken in, once the intake is closed."""
        upload = staged(self.stage, shape or (len(self._used),))
        upload.columns = self.plan.columns
        if self._codes is not None:
            upload.groups, upload.group_codes = list(self._groups), self._folder / "groups"
        if self._times is not None:
            upload.times, upload.times_are_moments = self._folder / "times", bool(self._moments)
        if self._ids is not None:
            upload.ids = self._ids.finish()
        return upload

    def _refuse_nulls(self, column: pa.Array, name: str | None, what: str) -> None:
        if column.null_count:
            row = self.stage.rows + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataRefused(
                f"a row without {what} cannot be put on either side of the split", row=row, column=name
            )

    def _group(self, column: pa.Array) -> Array:
        self._refuse_nulls(column, self.plan.group, "its group")
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        encoded = column.cast(pa.string()).dictionary_encode()
        codes = [self._groups.setdefault(name, len(self._groups)) for name in encoded.dictionary.to_pylist()]
        chosen: Array = np.asarray(codes, dtype=np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]
        return chosen

    def _time(self, column: pa.Array, name: str) -> Floats:
        self._refuse_nulls(column, name, "its time")
        temporal = any(test(column.type) for test in _TEMPORAL)
        if temporal:
            column = column.cast(pa.timestamp("us")).cast(pa.int64())
        elif not is_number(column.type):
            if self._moments is None:
                self._moments = not _all_numbers(column)
            return self._parsed(column, name)
        self._moments = temporal
        return numbers(column).astype(np.float64)

    def _parsed(self, column: pa.Array, name: str) -> Floats:
        """Times that came as text: all numbers, or all ISO 8601, as the first batch showed."""
        values = np.empty(len(column))
        for row, text in enumerate(column.to_pylist()):
            try:
                value = microseconds(datetime.fromisoformat(text.strip())) if self._moments else float(text)
            except ValueError:
                what = "an ISO 8601 moment" if self._moments else "a number"
                raise DataRefused(
                    f"{text[:80]!r} is not {what}", row=self.stage.rows + row, column=name
                ) from None
            values[row] = value
        return values


def _all_numbers(column: pa.Array) -> bool:
    try:
        pc.cast(column, pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def block_of(columns: list[Array], dtype: Dtype) -> Array:
    """Columns side by side, [n, features]; float64 where the types differ."""
    if dtype == "uint8" and all(column.dtype == np.uint8 for column in columns):
        return np.stack(columns, axis=1)
    block = np.empty((len(columns), len(columns[0])))
    for position, column in enumerate(columns):
        block[position] = column
    return block.T
