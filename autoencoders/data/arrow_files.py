"""Parquet and Arrow IPC (file or stream): tables of numbers, or one column of equally long lists.

Encodings can hold any number of rows in a few bytes, so counts are bounded before anything is decoded, and
decoding goes batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autoencoders.data.arrays import CHUNK_BYTES, Array
from autoencoders.data.columns import Plan, check_names, plan
from autoencoders.data.formats import ARROW_FILE
from autoencoders.data.intake import TableIntake, block_of, is_number, numbers
from autoencoders.data.options import Limits, ReadOptions
from autoencoders.data.staging import Dtype, Upload
from autoencoders.errors import DataRefused

_CELL_BYTES = 8
_FREE_BYTES = 2**20
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def read_parquet(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """A Parquet file; only the columns that are needed are decoded."""
    with _explained("Parquet"):
        # Column chunks are streamed in small buffers: a row group may be as large as the file.
        file = pq.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
    with file:
        schema = file.schema_arrow
        check_names(schema.names, options)
        rows = file.metadata.num_rows
        _refuse_bomb(rows, len(schema.names), path, options.limits)
        table = _Table(schema, options)
        step = max(1, min(65_536, CHUNK_BYTES // (_CELL_BYTES * table.width)))
        batches = file.iter_batches(batch_size=step, columns=table.plan.needed, use_threads=False)
        return table.take(batches, path, folder, options)


def read_arrow(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """An Arrow IPC file or stream."""
    with _opened(path) as source:
        with _explained("Arrow"):
            is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            # Names are decoded only when they are looked at.
            reader.schema.names  # noqa: B018
        table = _Table(reader.schema, options)
        count = reader.num_record_batches if is_file else None
        batches = iter(reader) if count is None else map(reader.get_batch, range(count))
        return table.take(batches, path, folder, options)


def _opened(path: Path) -> pa.NativeFile:
    """The file mapped, so that large batches take no memory; or plain, under a tight limit of addresses."""
    try:
        return pa.memory_map(str(path))
    except OSError:
        return pa.OSFile(str(path))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataRefused(f"the {what} file cannot be read: {str(error)[:300]}") from error


def _refuse_bomb(rows: int, columns: int, path: Path, limits: Limits) -> None:
    if rows < 0 or rows > limits.max_rows:
        raise DataRefused(f"the table declares {rows:,} rows; at most {limits.max_rows:,} are taken")
    size, packed = rows * columns * _CELL_BYTES, path.stat().st_size
    if size > limits.max_bytes * 2 or size > max(_FREE_BYTES, packed * limits.max_table_ratio):
        raise DataRefused(
            f"{rows:,} rows of {columns:,} columns are {size:,} bytes out of a file of {packed:,}: at most "
            f"{limits.max_table_ratio:,} times its size and {limits.max_bytes:,} bytes are taken"
        )


class _Table:
    """What an Arrow schema makes of the options: plan, dtype, and whether one column holds whole rows."""

    def __init__(self, schema: pa.Schema, options: ReadOptions) -> None:
        self.kinds = {field.name: _storage(field.type) for field in schema}
        check_names(schema.names, options)
        self.vector = self._vector(options)
        not_numbers = {
            name: f"{kind}"
            for name, kind in self.kinds.items()
            if not is_number(kind) and name != self.vector
        }
        self.plan: Plan = plan(schema.names, not_numbers, options)
        self.types = {field.name: field.type for field in schema}
        used = [self.kinds[name] for name in self.plan.named("use")]
        if self.vector:
            used = [used[0].value_type]
        # A cell to be filled needs a float: bytes have no NaN.
        whole = all(kind == pa.uint8() for kind in used) and options.missing == "refuse"
        self.dtype: Dtype = "uint8" if whole else "float32"
        self.width = len(self.plan.needed)

    def _vector(self, options: ReadOptions) -> str | None:
        """The one list column that may be used, if nothing else is."""
        usable = [
            name
            for name, kind in self.kinds.items()
            if options.roles.get(name, "use") == "use" and (is_number(kind) or _is_list(kind))
        ]
        if len(usable) != 1 or is_number(self.kinds[usable[0]]):
            return None
        return usable[0] if is_number(self.kinds[usable[0]].value_type) else None

    def take(
        self, batches: Iterator[pa.RecordBatch], path: Path, folder: Path, options: ReadOptions
    ) -> Upload:
        """Everything, batch by batch."""
        rows = iter(self._sliced(batches, path, options))
        first = next(rows, None)
        if first is None:
            raise DataRefused("the table has no rows")
        block, shape = self._block(first), None
        id_types = {name: self.types[name] for name in self.plan.named("id")}
        intake = TableIntake(self.plan, folder, options, self.dtype, id_types)
        if self.vector:
            intake.stage = type(intake.stage)(folder / "upload", self.dtype, block.shape[1], options.limits)
            shape = _tensor_shape(self.types[self.vector], block.shape[1])
        with intake:
            intake.add(self._others(first), block)
            for batch in rows:
                intake.add(self._others(batch), self._block(batch, intake.stage.rows, block.shape[1]))
        upload = intake.finish(shape)
        if self.vector:
            upload.columns = None
        return upload

    def _sliced(
        self, batches: Iterator[pa.RecordBatch], path: Path, options: ReadOptions
    ) -> Iterator[pa.RecordBatch]:
        """Batches of bounded size, whatever their writer's were; counted before they are looked into."""
        seen, step = 0, max(1, CHUNK_BYTES // (_CELL_BYTES * self.width))
        while True:
            with _explained("table's"):
                batch = next(batches, None)
            if batch is None:
                return
            seen += batch.num_rows
            _refuse_bomb(seen, self.width, path, options.limits)
            with _explained("table's"):
                # Offsets and indices that point outside would crash, text that is no UTF-8 would raise later.
                batch.validate(full=True)
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)

    def _others(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        used = set(self.plan.named("use")) - {self.plan.group}
        return {name: batch.column(name) for name in self.plan.needed if name not in used}

    def _block(self, batch: pa.RecordBatch, first_row: int = 0, width: int | None = None) -> Array:
        if self.vector is None:
            return block_of([numbers(batch.column(name)) for name in self.plan.named("use")], self.dtype)
        column = batch.column(self.vector)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        return _vectors(column, self.vector, first_row, width)


def _vectors(column: pa.Array, name: str, first_row: int, width: int | None) -> Array:
    """Equally long lists as rows."""
    if column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataRefused("a list is missing", row=row, column=name)
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
    else:
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        width = int(lengths[0]) if width is None else width
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise DataRefused(
                f"its list has {lengths[row]:,} numbers, the first one {width:,}",
                row=first_row + row,
                column=name,
            )
    return numbers(column.flatten()).reshape(len(column), width)


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _LISTS)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _tensor_shape(kind: pa.DataType, width: int) -> tuple[int, ...]:
    return tuple(kind.shape) if isinstance(kind, pa.FixedShapeTensorType) else (width,)
