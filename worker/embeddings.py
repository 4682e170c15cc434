"""Embeddings as a file: Parquet with a table's id columns beside the codes, or one npy array.

Equal parts give equal bytes: nothing of when, where or in how many attempts they were made stands in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.lib.format as npy
import pyarrow as pa
import pyarrow.parquet as pq

from worker.parts import Float32, regrouped

#: What readers like to get at once; fewer where rows are wide.
_GROUP_ROWS, _GROUP_BYTES = 122_880, 64 * 2**20


@dataclass(frozen=True)
class Column:
    """One column of what is kept for a row.

    Attributes:
        name: of the column.
        width: numbers in it.
        shape: of one row of it; () is a plain number.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many numbers a row of it has."""
        return math.prod(self.shape)


def columns_of(outputs: Sequence[str], code_size: int, shape: tuple[int, ...]) -> list[Column]:
    """What the outputs that were asked for put beside each other, in their order."""
    offered = {
        "code": [Column("code", (code_size,))],
        "score": [Column("score", ()), Column("percentile", ())],
        "reconstruction": [Column("reconstruction", shape)],
    }
    return [column for output in outputs for column in offered[output]]


def write_parquet(
    path: Path,
    parts: Iterator[Float32],
    columns: Sequence[Column],
    *,
    ids: pa.Table | None,
    metadata: Mapping[str, str],
) -> None:
    """Write parts [n, width] as they come, one group of rows after the other.

    A column of several numbers is a fixed-size list of float32, flat where rows are images. An id column
    keeps its name and type; an output of the same name gets an underscore in front of its own.
    """
    id_names = [] if ids is None else ids.schema.names
    fields = [_field(column, id_names) for column in columns]
    schema = pa.schema([*([] if ids is None else ids.schema), *fields]).with_metadata(dict(metadata))
    width = sum(column.width for column in columns)
    group_rows = max(1, min(_GROUP_ROWS, _GROUP_BYTES // (4 * width)))
    start = 0
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=id_names or False) as writer:
        for values in regrouped(parts, group_rows):
            beside = [] if ids is None else ids.slice(start, len(values)).columns
            table = pa.Table.from_arrays([*beside, *_arrays(values, columns)], schema=schema)
            writer.write_table(table, row_group_size=group_rows)
            start += len(values)


def write_npy(path: Path, parts: Iterator[Float32], rows: int, column: Column) -> None:
    """Write the first column of parts as one array [rows, *shape]."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, *column.shape)}
        npy.write_array_header_1_0(file, header)
        for values in parts:
            file.write(np.ascontiguousarray(values[:, : column.width], dtype="<f4").data)


def _field(column: Column, taken: Sequence[str]) -> pa.Field:
    name = column.name
    while name in taken:
        name = f"_{name}"
    kind = pa.list_(pa.float32(), column.width) if column.shape else pa.float32()
    return pa.field(name, kind, nullable=False)


def _arrays(values: Float32, columns: Sequence[Column]) -> Iterator[pa.Array]:
    start = 0
    for column in columns:
        numbers = pa.array(np.ascontiguousarray(values[:, start : start + column.width]).reshape(-1))
        yield pa.FixedSizeListArray.from_arrays(numbers, column.width) if column.shape else numbers
        start += column.width
