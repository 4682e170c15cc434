"""The plain case of an infer request in JSON: one tensor of numbers, flat or nested."""

from __future__ import annotations

import math
import re
import secrets
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.serving.codecs import Expected
from service.serving.codecs.json_numbers import Float32, nesting, read_whole
from service.serving.codecs.json_rows import inner_extents

_DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
# Stands where the data were, and nobody can have sent it.
_GAP = secrets.token_hex(16)
_WHOLE_BELOW = 2**24


class Dense(NamedTuple):
    """A request of which only the numbers were read.

    Attributes:
        document: the rest of it: its one input has no numbers for `data`.
        numbers: in their order.
        whole: whether they were written as whole numbers, and are exactly those.
        nested: the extents within the outermost array; none where they came flat.
    """

    document: dict[str, Any]
    numbers: Float32
    whole: bool
    nested: tuple[int, ...]

    def fill(self, shape: tuple[int, ...]) -> bool:
        """Whether the numbers are as many as a shape says, and flat or nested in its way."""
        return self.numbers.size == math.prod(shape) and self.nested in ((), shape[1:])


def read(body: bytes, expected: Expected) -> Dense | None:
    """A request of JSON alone; None for a closer look."""
    found = _DATA.search(body)
    at = 0 if found is None else found.end()
    depth = nesting(body, at)
    nested = () if depth == 1 else inner_extents(depth, expected)
    if found is None or nested is None or (whole := read_whole(body, nested, at)) is None:
        return None
    array, rest = whole
    try:
        document = orjson.loads(b'%b"%b"%b' % (body[:at], _GAP.encode(), rest))
    except orjson.JSONDecodeError:
        return None
    if not _has_a_gap(document):
        return None
    end = len(body) - len(rest)
    integers = all(body.find(mark, at, end) < 0 for mark in (b".", b"e", b"E"))
    return Dense(document, array, integers and bool(np.abs(array).max() < _WHOLE_BELOW), nested)


def _has_a_gap(document: object) -> bool:
    """Whether the data that were left out are those of the one input."""
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        return False
    return bool(inputs[0].get("data") == _GAP)
