"""The plain case of a JSON body, parsed straight to an array: no Python object is made for a number.

simdjson flattens what it is given, so the shape is checked apart: each row's length, and by the number of
opening brackets in the body that nothing is nested but the rows themselves. Whatever is unusual is left to
the careful reader, which also finds the words for what is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import simdjson

from service.serving.codecs.rows import Expected, Question, Rows, finite

# A parser keeps memory of about three times its largest document. It holds the interpreter's lock while it
# parses, so that more than two are hardly ever in use at once.
_KEPT_PARSERS = 2
_KEPT_BYTES = 16 * 1024 * 1024
# Looking for the next bracket costs as much as counting through so many bytes.
_BYTES_A_LOOK = 2048
_FEW = 8
_PIECE_BYTES = 256 * 1024
# simdjson counts an array's items in 24 bits.
_COUNTABLE = 0xFFFFFF
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OPENING = ord("[")
_SURELY_FLOAT32 = 1e76

_Found = tuple[np.ndarray[Any, np.dtype[np.float64]], bool]
_parsers: list[simdjson.Parser] = []


def read(body: bytes, expected: Expected) -> Question | None:
    """The rows of `{"inputs": [[…], …]}`, with `per_feature` or without; None for a closer look.

    Raises:
        BadTensor: a number is too large for float32; names row and column.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        return None
    try:
        with borrowed_parser(body) as parser:
            found = _question(parser.parse(body), body, expected)
    except (ValueError, TypeError, RuntimeError):
        return None
    if found is None:
        return None
    (numbers, flat), per_feature = found
    # Numbers whose squares add up to so little are float32's, each of them: the usual case, in one pass.
    # (Unlike `dot`, `vdot` does not warn of what overflows.)
    if np.vdot(numbers, numbers) < _SURELY_FLOAT32:
        rows = numbers.astype(np.float32).reshape(-1, expected.width)
    else:
        rows = finite(_rows(numbers, expected), expected)
    return Question(rows, flat, None, per_feature)


def read_lists(text: bytes, expected: Expected) -> Rows | None:
    """The flat rows of a bare `[[…], …]`, not yet looked through for infinities; None for a closer look."""
    try:
        with borrowed_parser(text) as parser:
            found = _dense(parser.parse(text), text, expected)
    except (ValueError, TypeError, RuntimeError):
        return None
    return _rows(found[0], expected) if found is not None and found[1] else None


class borrowed_parser:  # noqa: N801  # called like a function; a generator would take five times as long
    """A parser that nobody else uses meanwhile; kept afterwards, unless something went wrong with it."""

    __slots__ = ("_kept", "_parser")

    def __init__(self, body: bytes) -> None:
        self._kept = len(body) <= _KEPT_BYTES

    def __enter__(self) -> simdjson.Parser:
        try:
            self._parser = _parsers.pop()
        except IndexError:
            self._parser = simdjson.Parser()
        return self._parser

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        if problem is None and self._kept and len(_parsers) < _KEPT_PARSERS:
            _parsers.append(self._parser)


def _rows(numbers: np.ndarray[Any, np.dtype[np.float64]], expected: Expected) -> Rows:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32).reshape(-1, expected.width)


def _question(document: object, body: bytes, expected: Expected) -> tuple[_Found, bool] | None:
    """What `inputs` holds, and `per_feature`; no part of the document outlives the call."""
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document)
    if keys != ["inputs"] and sorted(keys) != ["inputs", "per_feature"]:
        return None
    per_feature = document["per_feature"] if len(keys) > 1 else False
    found = _dense(document["inputs"], body, expected)
    return None if found is None or not isinstance(per_feature, bool) else (found, per_feature)


def _dense(inputs: object, body: bytes, expected: Expected) -> _Found | None:
    """The numbers in order, and whether their rows are flat (else they have the model's shape)."""
    if not isinstance(inputs, simdjson.Array):
        return None
    count = len(inputs)
    if not 0 < count < _COUNTABLE or expected.width >= _COUNTABLE:
        return None
    flat = _shape(inputs, count, opening_brackets(body), expected)
    if flat is None:
        return None
    numbers = np.frombuffer(inputs.as_buffer(of_type="d"), np.float64)
    return (numbers, flat) if numbers.size == count * expected.width else None


def _shape(inputs: simdjson.Array, count: int, brackets: int, expected: Expected) -> bool | None:
    """Whether the rows are flat (else they have the model's shape); None if they are neither."""
    width, shape = expected.width, expected.shape
    if brackets == 1 + count:
        for row in inputs:
            if not isinstance(row, simdjson.Array) or len(row) != width:
                return None
        return True
    if len(shape) > 1 and brackets == 1 + count * brackets_of(shape):
        return False if all(is_shaped(row, shape) for row in inputs) else None
    return None


def opening_brackets(body: bytes) -> int:
    """How many there are: looked for one by one where they are few, else counted in one pass."""
    found, place = 0, body.find(b"[")
    few = max(_FEW, len(body) // _BYTES_A_LOOK)
    while place >= 0 and found < few:
        found += 1
        place = body.find(b"[", place + 1)
    if place < 0:
        return found
    view = np.frombuffer(body, np.uint8)
    if len(view) <= _PIECE_BYTES:
        return int(np.count_nonzero(view == _OPENING))
    starts = range(0, len(view), _PIECE_BYTES)
    return sum(int(np.count_nonzero(view[start : start + _PIECE_BYTES] == _OPENING)) for start in starts)


def brackets_of(shape: tuple[int, ...]) -> int:
    """Opening brackets of one row of this shape."""
    return 1 if len(shape) == 1 else 1 + shape[0] * brackets_of(shape[1:])


def is_shaped(value: object, shape: tuple[int, ...]) -> bool:
    """Whether a value is nested as the shape says; its innermost items are not looked at."""
    if not isinstance(value, simdjson.Array) or len(value) != shape[0]:
        return False
    return len(shape) == 1 or all(is_shaped(inner, shape[1:]) for inner in value)
