"""Arrow IPC streams: a column a number, or one column of equally long lists; answers name their space."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa

from service.serving.codecs.rows import (
    Array,
    Expected,
    Reply,
    column_of,
    refuse_other_columns,
)
from service.serving.errors import BadTensor

_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating)


def read(body: bytes, expected: Expected) -> Array:
    """The rows of all batches.

    Raises:
        BadTensor: it is no such stream, or its columns are no rows of the model; names row and column.
    """
    try:
        _refuse_unbounded(body)
        reader = pa.ipc.open_stream(pa.BufferReader(body))
        names, as_lists = _plan(reader.schema, expected)
        parts, first_row = [], 0
        for batch in reader:
            # Offsets that point outside would crash.
            batch.validate(full=True)
            if batch.num_rows == 0:
                continue
            parts.append(
                _lists(batch.column(0), expected, first_row)
                if as_lists
                else _columns(batch, names, expected, first_row)
            )
            first_row += batch.num_rows
    except (pa.ArrowException, OSError, struct.error, UnicodeDecodeError, IndexError) as error:
        raise BadTensor(f"the body is no Arrow IPC stream: {str(error)[:200]}", field="body") from None
    if not parts:
        raise BadTensor("must hold at least one row")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def write(reply: Reply) -> bytes:
    """Everything about the rows; the schema's metadata name the model, its version and its space."""
    columns: dict[str, pa.Array] = {}
    if reply.columns is not None and reply.values.ndim == 2:
        columns.update(zip(reply.columns, map(pa.array, reply.values.T), strict=True))
    else:
        columns[reply.name] = _column(reply.values)
    for name, values in reply.per_row.items():
        columns[name] = _column(values)
    said = dict(reply.beside.get("model", {}))
    if "columns" in reply.beside:
        said["columns"] = ",".join(reply.beside["columns"])
    metadata = {key: str(value) for key, value in said.items()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(values: Array) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))


def _refuse_unbounded(body: bytes) -> None:
    """Refuse what is larger in memory than in the body: buffers that are compressed one by one."""
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(body)):
        if message.type == "record batch" and _is_compressed(message.metadata):
            raise BadTensor(
                "its buffers are compressed; send them plain, and compress the body as a whole "
                "(Content-Encoding: zstd)",
                field="body",
            )


def _is_compressed(metadata: Any) -> bool:
    """Whether a record batch's flatbuffer has the field `compression` (the fourth of its table)."""
    view = memoryview(metadata)
    message = struct.unpack_from("<I", view, 0)[0]
    at = message + _offset(view, message, 2)
    return _offset(view, at + struct.unpack_from("<I", view, at)[0], 3) != 0


def _offset(view: memoryview, table: int, field: int) -> int:
    """Where a field of a flatbuffer's table is, from the table on; 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", view, table)[0]
    at, size = 4 + 2 * field, struct.unpack_from("<H", view, vtable)[0]
    return int(struct.unpack_from("<H", view, vtable + at)[0]) if at + 2 <= size else 0


def _plan(schema: pa.Schema, expected: Expected) -> tuple[list[str] | None, bool]:
    """Which columns are read, in which order, and whether one of them holds whole rows."""
    kinds = [_storage(entry.type) for entry in schema]
    if len(kinds) == 1 and _is(kinds[0], _LISTS):
        inner = kinds[0]
        while _is(inner, _LISTS):
            inner = _storage(inner.value_type)
        if not _is(inner, _NUMBERS):
            raise BadTensor(f"its lists hold {inner}; numbers are needed", column=schema.names[0])
        return None, True
    for name, kind in zip(schema.names, kinds, strict=True):
        if not _is(kind, _NUMBERS):
            raise BadTensor(f"the column is {kind}; numbers are needed", column=name)
    if expected.columns is not None and expected.columns != tuple(schema.names):
        refuse_other_columns(schema.names, expected)
        return list(expected.columns), False
    if len(kinds) != expected.width:
        raise BadTensor(
            f"the table has {len(kinds)} columns; {expected.what} have {expected.width} numbers "
            "(as columns, or as one column of lists)"
        )
    return None, False


def _columns(batch: pa.RecordBatch, names: list[str] | None, expected: Expected, first_row: int) -> Array:
    columns = batch.columns if names is None else [batch.column(name) for name in names]
    block = np.empty((batch.num_rows, len(columns)), np.float32)
    for position, column in enumerate(columns):
        if column.null_count:
            row = first_row + _first_null(column)
            raise BadTensor("the cell is empty", row=row, column=column_of(expected, position))
        with np.errstate(over="ignore"):
            block[:, position] = _storage_of(column).to_numpy(zero_copy_only=False)
    return block


def _lists(column: pa.Array, expected: Expected, first_row: int) -> Array:
    """Equally long lists as rows, [n, …]."""
    if isinstance(column, pa.FixedShapeTensorArray):
        _refuse_nulls(column.storage, [len(column)], expected, first_row)
        tensors: Array = column.to_numpy_ndarray()
        return tensors
    column = _storage_of(column)
    shape = [len(column)]
    while _is(column.type, _LISTS):
        _refuse_nulls(column, shape, expected, first_row)
        shape.append(_length(column, shape, expected, first_row))
        column = _storage_of(column.flatten())
    _refuse_nulls(column, shape, expected, first_row)
    numbers: Array = column.to_numpy(zero_copy_only=False)
    return numbers.reshape(shape)


def _length(column: pa.Array, shape: list[int], expected: Expected, first_row: int) -> int:
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    wanted = expected.width if len(shape) == 1 and lengths[0] == expected.width else int(lengths[0])
    if (lengths != wanted).any():
        bad = int(np.argmax(lengths != wanted))
        row = first_row + bad * shape[0] // max(1, math.prod(shape))
        raise BadTensor(f"its list has {lengths[bad]} items, the first one {wanted}", row=row)
    return wanted


def _refuse_nulls(column: pa.Array, shape: list[int], expected: Expected, first_row: int) -> None:
    if column.null_count:
        at = _first_null(column)
        width = max(1, math.prod(shape[1:]))
        place = column_of(expected, at % width) if width == expected.width else None
        raise BadTensor("holds a null; numbers are needed", row=first_row + at // width, column=place)


def _first_null(column: pa.Array) -> int:
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _is(kind: pa.DataType, tests: tuple[Any, ...]) -> bool:
    return any(test(kind) for test in tests)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _storage_of(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column
