"""JSON and npy to float32 rows and back, each way chosen by itself: by `Content-Type` and by `Accept`."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import orjson

from service.serving.errors import BadTensor, NotAcceptable, UnknownFormat

JSON = "application/json"
NPY = "application/x-npy"
FORMATS = (JSON, NPY)
_NUMBER_KINDS = "fiu"
_NPY_DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
_LARGEST_HEADER = 64 * 1024

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]


@dataclass(frozen=True)
class Expected:
    """What rows a model takes: numbers a row, its shape, and the columns' names where it knows a table."""

    width: int
    shape: tuple[int, ...]
    columns: tuple[str, ...] | None = None
    what: str = "the model's rows"


@dataclass(frozen=True)
class Question:
    """A decoded request: its rows, whether they came flat, and what a JSON body said beside them."""

    rows: Rows
    flat: bool = True
    encoding: Literal["base64"] | None = None
    per_feature: bool = False


@dataclass(frozen=True)
class Reply:
    """What an answer is made of: the main array under its name, and for JSON what stands beside it."""

    name: str
    values: np.ndarray[Any, Any]
    beside: dict[str, Any] = field(default_factory=dict)


def read_format(content_type: str | None) -> str:
    """The codec for a body.

    Raises:
        UnknownFormat: nothing reads this type.
    """
    media = (content_type or JSON).partition(";")[0].strip().lower()
    if media in FORMATS:
        return media
    raise UnknownFormat(f"bodies may be {' or '.join(FORMATS)}, not {media!r}")


def write_format(accept: str | None, sent: str) -> str:
    """The codec for an answer: the caller's favourite, or the body's own where anything will do.

    Raises:
        NotAcceptable: nothing writes any of these types.
    """
    if accept is None or not accept.strip():
        return JSON
    wanted: list[tuple[float, int, str]] = []
    for position, part in enumerate(accept.split(",")):
        media, _, parameters = part.partition(";")
        wanted.append((-_quality(parameters), position, media.strip().lower()))
    for quality, _, media in sorted(wanted):
        if quality == 0:
            continue
        if media in FORMATS:
            return media
        if media == "*/*":
            return sent if sent == JSON else JSON
        if media == "application/*":
            return JSON
    raise NotAcceptable(f"answers may be {' or '.join(FORMATS)}, not {accept!r}")


def decode(body: bytes, media: str, expected: Expected) -> Question:
    """The rows in a request's body.

    Raises:
        BadTensor: not the rows that the model takes; names row and column.
    """
    if media == NPY:
        array = _npy(body)
        return Question(_finite(_fit(array, expected), expected), array.ndim == 2)
    return _json(body, expected)


def encode(reply: Reply, media: str, encoding: str | None = None) -> bytes:
    """The body of an answer."""
    if media == NPY:
        buffer = io.BytesIO()
        np.lib.format.write_array(
            buffer, np.ascontiguousarray(reply.values), version=(1, 0), allow_pickle=False
        )
        return buffer.getvalue()
    if encoding == "base64":
        little = np.ascontiguousarray(reply.values, dtype="<f4")
        text = base64.b64encode(little.tobytes()).decode()
        document = {reply.name: text, "encoding": "base64", "shape": list(little.shape), **reply.beside}
    else:
        document = {reply.name: np.ascontiguousarray(reply.values), **reply.beside}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def _json(body: bytes, expected: Expected) -> Question:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadTensor(f"the body is not JSON: {error}", field="body") from None
    if not isinstance(document, dict) or "inputs" not in document:
        raise BadTensor('the body must be an object with the rows under "inputs"', field="body")
    if unknown := sorted(set(document) - {"inputs", "encoding", "shape", "per_feature"}):
        raise BadTensor(f"unknown fields: {', '.join(unknown)}", field=unknown[0])
    encoding = document.get("encoding")
    if encoding not in (None, "base64"):
        raise BadTensor('may be "base64" or left out', field="encoding")
    per_feature = document.get("per_feature", False)
    if not isinstance(per_feature, bool):
        raise BadTensor("must be true or false", field="per_feature")
    inputs = document["inputs"]
    # numpy takes true for 1; only rows that may hold one are looked at number by number.
    flags = body.count(b"true") + body.count(b"false") > ("per_feature" in document)
    if isinstance(inputs, str):
        rows, flat = _fit(_base64(inputs, encoding, expected), expected), True
    elif isinstance(inputs, list):
        rows, flat = _listed(inputs, expected, flags=flags)
    else:
        raise BadTensor("must be a list of rows")
    return Question(_finite(rows, expected), flat, encoding, per_feature)


def _listed(inputs: list[Any], expected: Expected, *, flags: bool) -> tuple[Rows, bool]:
    if not inputs:
        raise BadTensor("must hold at least one row")
    if isinstance(inputs[0], dict):
        inputs, flags = _by_column(inputs, expected), True
    try:
        array = np.array(inputs)
    except (ValueError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in _NUMBER_KINDS or flags:
        _find_bad(inputs, expected)
    if array is None:
        raise BadTensor(f"every row must have the shape {list(expected.shape)}")
    return _fit(array, expected), array.ndim == 2


def _by_column(inputs: list[Any], expected: Expected) -> list[list[Any]]:
    if expected.columns is None:
        raise BadTensor(
            "rows as {column: value} are for models of tables; this one takes lists of numbers", row=0
        )
    known = frozenset(expected.columns)
    rows = []
    for number, row in enumerate(inputs):
        if not isinstance(row, dict):
            raise BadTensor("must be {column: value} like the first row", row=number)
        if row.keys() != known:
            for column in expected.columns:
                if column not in row:
                    raise BadTensor("the column is missing", row=number, column=column)
            extra = next(column for column in row if column not in known)
            raise BadTensor("the model was not trained on this column", row=number, column=extra)
        rows.append([row[column] for column in expected.columns])
    return rows


def _find_bad(inputs: Sequence[Any], expected: Expected) -> None:
    """Name the first row, and in it the first place, that is no number or makes the rows uneven."""
    for number, row in enumerate(inputs):
        if not isinstance(row, list):
            raise BadTensor("must be a list of numbers", row=number)
        flat = list(_flat(row))
        for position, value in enumerate(flat):
            if isinstance(value, bool) or not isinstance(value, int | float):
                column = _column(expected, position)
                raise BadTensor(f"must be a number, not {_shown(value)}", row=number, column=column)
        if len(flat) != expected.width:
            raise BadTensor(f"has {len(flat)} numbers; {expected.what} have {expected.width}", row=number)


def _column(expected: Expected, position: int) -> int | str:
    columns = expected.columns
    return columns[position] if columns is not None and position < len(columns) else position


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _shown(value: Any) -> str:
    return "null" if value is None else orjson.dumps(value).decode()[:40]


def _base64(text: str, encoding: str | None, expected: Expected) -> np.ndarray[Any, Any]:
    if encoding != "base64":
        raise BadTensor('a string of rows needs "encoding": "base64"')
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadTensor(f"is not base64: {error}") from None
    if not raw or len(raw) % (4 * expected.width):
        raise BadTensor(
            f"holds {len(raw)} bytes, which is no multiple of a row's {4 * expected.width} "
            f"({expected.width} little-endian float32)"
        )
    return np.frombuffer(raw, dtype="<f4").reshape(-1, expected.width)


def _npy(body: bytes) -> np.ndarray[Any, Any]:
    """The array in an npy file: its header is read here, so that nothing is allocated on its word alone."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream, max_header_size=_LARGEST_HEADER)
    except KeyError:
        raise BadTensor("an npy file of version 1.0 or 2.0 is needed", field="body") from None
    except ValueError as error:
        raise BadTensor(f"the body is no npy file: {error}", field="body") from None
    if dtype.hasobject or dtype.kind + str(dtype.itemsize) not in _NPY_DTYPES:
        raise BadTensor(f"the array's dtype is {dtype}; numbers are needed", field="body")
    if any(extent < 0 for extent in shape):
        raise BadTensor("the array's shape is negative", field="body")
    count = 1
    for extent in shape:
        count *= extent
    held = len(body) - stream.tell()
    if count * dtype.itemsize != held:
        raise BadTensor(
            f"its header promises {count * dtype.itemsize} bytes, but {held} follow", field="body"
        )
    flat = np.frombuffer(body, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def _fit(array: np.ndarray[Any, Any], expected: Expected) -> Rows:
    """Rows of the model's width as float32; a row may come flat or in the model's own shape."""
    if array.ndim < 2:
        raise BadTensor(f"must be rows, [n, {expected.width}]; one row is [[…]]")
    if array.shape[0] == 0:
        raise BadTensor("must hold at least one row")
    given = array.shape[1:]
    if given not in ((expected.width,), expected.shape):
        raise BadTensor(
            f"has {_numbers(given)}; {expected.what} have {_numbers(expected.shape)}"
            + (f" or {expected.width} numbers" if len(expected.shape) > 1 else ""),
            row=0,
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array.reshape(array.shape[0], expected.width), dtype=np.float32)


def _numbers(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else f"the shape {list(shape)}"


def _finite(rows: Rows, expected: Expected) -> Rows:
    """Refuse NaN and infinities, those too that only float32 made of a number."""
    # The sum is finite if all are; it costs no second array. Only a sum that overflows needs the closer look.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum(dtype=np.float64)):
            return rows
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, position = int(bad[0][0]), int(bad[0][1])
        column = _column(expected, position)
        raise BadTensor("is not a finite float32 number", row=row, column=column)
    return rows
