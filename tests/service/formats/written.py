"""Every format as somebody else's library writes and reads it: nothing here is ours."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from PIL import Image

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Written:
    """A format: what it is called, how rows are written in it, and how an answer's main array is read."""

    media: str
    write: Callable[[Array], bytes]
    read: Callable[[bytes, str, dict[str, str]], Array]


def _json(rows: Array) -> bytes:
    return orjson.dumps({"inputs": rows.tolist()})


def _json_answer(body: bytes, name: str, _: dict[str, str]) -> Array:
    """Who asked in base64 is answered so."""
    document = orjson.loads(body)
    if document.get("encoding") != "base64":
        return np.array(document[name], np.float32)
    return np.frombuffer(base64.b64decode(document[name]), "<f4").reshape(document["shape"])


def _base64(rows: Array) -> bytes:
    text = base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode()
    return orjson.dumps({"inputs": text, "encoding": "base64", "shape": list(rows.shape)})


def npy(rows: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


def _npy_answer(body: bytes, name: str, headers: dict[str, str]) -> Array:
    array: Array = np.load(io.BytesIO(body))
    return array


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _arrow(rows: Array) -> bytes:
    if rows.ndim == 2:
        flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
        return stream(pa.table({"rows": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])}))
    return stream(pa.table({"rows": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(rows))}))


def _arrow_columns(rows: Array) -> bytes:
    flat = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
    return stream(pa.table({f"x{place}": flat[:, place] for place in range(flat.shape[1])}))


def _arrow_answer(body: bytes, name: str, _: dict[str, str]) -> Array:
    table = pa.ipc.open_stream(body).read_all()
    if name not in table.column_names:
        return np.stack([column.to_numpy() for column in table.columns], axis=1)
    column = table[name].combine_chunks()
    if isinstance(column, pa.FixedShapeTensorArray):
        array: Array = column.to_numpy_ndarray()
        return array
    return np.array(column.to_pylist(), np.float32)


def _raw(rows: Array) -> bytes:
    return np.ascontiguousarray(rows, "<f4").tobytes()


def _raw_answer(body: bytes, _: str, headers: dict[str, str]) -> Array:
    shape = [int(part) for part in headers["x-shape"].split(",")]
    return np.frombuffer(body, "<f4").reshape(shape)


def _csv(rows: Array) -> bytes:
    flat = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
    return "\n".join(",".join(map(str, row.tolist())) for row in flat).encode()


def _csv_with_header(rows: Array) -> bytes:
    flat = rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
    return ",".join(f"x{place}" for place in range(flat.shape[1])).encode() + b"\r\n" + _csv(rows) + b"\r\n"


def _csv_answer(body: bytes, name: str, _: dict[str, str]) -> Array:
    lines = list(csv.reader(io.StringIO(body.decode())))
    values = np.array([[float(cell) for cell in line] for line in lines[1:]], np.float32)
    return values[:, 0] if name == "scores" else values


def picture(rows: Array, kind: str = "PNG", mode: str = "L") -> bytes:
    """The one row as a picture; its numbers are parts of white."""
    pixels = (np.asarray(rows[0]).reshape(8, 8) * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


FORMATS = {
    "json": Written("application/json", _json, _json_answer),
    "base64": Written("application/json", _base64, _json_answer),
    "npy": Written("application/x-npy", npy, _npy_answer),
    "arrow lists": Written("application/vnd.apache.arrow.stream", _arrow, _arrow_answer),
    "arrow columns": Written("application/vnd.apache.arrow.stream", _arrow_columns, _arrow_answer),
    "raw": Written("application/octet-stream", _raw, _raw_answer),
    "csv": Written("text/csv", _csv, _csv_answer),
    "csv with a header": Written("text/csv", _csv_with_header, _csv_answer),
}
"""All that hold many rows of numbers."""
