"""The careful reader of JSON bodies: `{column: value}` rows, base64, and for what is wrong, its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from service.serving.codecs import base64_text
from service.serving.codecs.rows import (
    Array,
    Expected,
    Question,
    Rows,
    column_of,
    finite,
    fit,
    refuse_other_columns,
)
from service.serving.errors import BadTensor

_FIELDS = frozenset({"inputs", "encoding", "shape", "per_feature"})
_NUMBER_KINDS = "fiu"


def read(body: bytes, expected: Expected) -> Question:
    """The rows in any JSON body.

    Raises:
        BadTensor: not the rows that the model takes; names row and column.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadTensor(f"the body is not JSON: {error}", field="body") from None
    if not isinstance(document, dict) or "inputs" not in document:
        raise BadTensor('the body must be an object with the rows under "inputs"', field="body")
    if unknown := sorted(set(document) - _FIELDS):
        raise BadTensor(f"unknown fields: {', '.join(unknown)}", field=unknown[0])
    encoding = document.get("encoding")
    if encoding not in (None, "base64"):
        raise BadTensor('may be "base64" or left out', field="encoding")
    per_feature = document.get("per_feature", False)
    if not isinstance(per_feature, bool):
        raise BadTensor("must be true or false", field="per_feature")
    inputs, shape = document["inputs"], document.get("shape")
    if isinstance(inputs, str):
        if encoding is None:
            raise BadTensor('a string of rows needs "encoding": "base64"')
        array = base64_text.read(inputs, shape, expected)
    elif shape is not None:
        raise BadTensor("goes with base64 alone: lists have a shape of their own", field="shape")
    elif isinstance(inputs, list):
        # numpy takes true for 1; only rows that may hold one are looked at number by number.
        flags = body.count(b"true") + body.count(b"false") > ("per_feature" in document)
        array = listed(inputs, expected, flags=flags)
    else:
        raise BadTensor("must be a list of rows")
    rows: Rows = fit(array, expected)
    return Question(finite(rows, expected), array.ndim == 2, encoding, per_feature)


def listed(inputs: list[Any], expected: Expected, *, flags: bool) -> Array:
    """Rows that came as lists; with `flags` each of them is looked at, whether it holds a true or false.

    Raises:
        BadTensor: they are uneven or hold what is no number; names row and column.
    """
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
    if array.dtype.kind not in _NUMBER_KINDS:
        # Integers beyond 64 bits next to others are objects to numpy; all of them are numbers.
        array = np.array(inputs, dtype=np.float64)
    return array


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
            refuse_other_columns(list(row), expected, number)
        rows.append([row[column] for column in expected.columns])
    return rows


def _find_bad(inputs: Sequence[Any], expected: Expected) -> None:
    """Name the first row, and in it the first place, that is no number or makes the rows uneven."""
    first: tuple[int, ...] = ()
    for number, row in enumerate(inputs):
        if not isinstance(row, list):
            raise BadTensor("must be a list of numbers", row=number)
        flat = list(_flat(row))
        for position, value in enumerate(flat):
            if isinstance(value, bool) or not isinstance(value, int | float):
                column = column_of(expected, position)
                raise BadTensor(f"must be a number, not {_shown(value)}", row=number, column=column)
        if len(flat) != expected.width:
            raise BadTensor(f"has {len(flat)} numbers; {expected.what} have {expected.width}", row=number)
        shape = expected.shape if isinstance(row[0], list) else (expected.width,)
        if not _is_shaped(row, shape):
            raise BadTensor(f"must be a list of numbers or have the shape {list(expected.shape)}", row=number)
        if shape != (first := first or shape):
            raise BadTensor("must have the same shape as the first row", row=number)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _is_shaped(value: Any, shape: tuple[int, ...]) -> bool:
    if not shape:
        return not isinstance(value, list)
    if not isinstance(value, list) or len(value) != shape[0]:
        return False
    return all(_is_shaped(inner, shape[1:]) for inner in value)


def _shown(value: Any) -> str:
    return "null" if value is None else orjson.dumps(value).decode()[:40]
