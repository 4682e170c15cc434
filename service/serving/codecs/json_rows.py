"""The plain case of a JSON body, `{"inputs": [[…], …]}`: its rows are read as they come.

Whatever is unusual is left to the careful reader, which also finds the words for what is wrong.
"""

from __future__ import annotations

import numpy as np
import orjson

from service.serving.codecs.json_numbers import Float32, Numbers, nesting, read_whole
from service.serving.codecs.rows import Expected, Question, Rows

_MOST_HEAD_BYTES = 4096
# Rows are taken meanwhile from what is larger.
_MOST_AT_ONCE_BYTES = 1024 * 1024
_FIELDS = frozenset({"inputs", "per_feature"})


class RowsReader:
    """Reads a body from its parts in their order; it keeps none of them.

    Args:
        expected: what the model takes.
        size: of the whole body, in bytes.

    Attributes:
        expected: the same.
        fits: whether the body is such a one as far as it was fed; if not, it is for the careful reader.
    """

    def __init__(self, expected: Expected, size: int) -> None:
        self.expected = expected
        self._size = min(size, _MOST_AT_ONCE_BYTES)
        self._head = b""
        self._numbers: Numbers | None = None
        self._fits = True

    @property
    def fits(self) -> bool:
        """Whether it may be such a body."""
        return self._fits and (self._numbers is None or self._numbers.fits)

    @property
    def count(self) -> int:
        """How many rows were read and not taken."""
        return 0 if self._numbers is None else self._numbers.count // self.expected.width

    def feed(self, part: bytes) -> None:
        """Read on."""
        numbers, at = self._numbers, 0
        if numbers is None:
            numbers, part, at = self._begin(part)
        if numbers is not None:
            numbers.feed(part, at)

    def take(self) -> Rows:
        """The rows that were read since the last time."""
        width = self.expected.width
        if self._numbers is None:
            return np.empty((0, width), np.float32)
        return self._numbers.take(width).reshape(-1, width)

    def end(self, part: bytes = b"") -> Question | None:
        """Read the last part: what was asked, with the rows not taken yet; None where it does not fit."""
        numbers, at = self._numbers, 0
        if numbers is None:
            numbers, part, at = self._begin(part)
        if numbers is None or not numbers.end(part, at):
            self._fits = False
            return None
        found = numbers.take(self.expected.width)
        question = _question(self._head, found, numbers.rest or b"", numbers.depth, self.expected)
        self._fits = question is not None
        return question

    def _begin(self, part: bytes) -> tuple[Numbers | None, bytes, int]:
        """Look whether the array of rows has begun, and how it is nested: all that came, and where."""
        text = self._head = self._head + part if self._fits else b""
        opens = text.find(b"[")
        depth = nesting(text, opens)
        if depth is None:
            self._fits = self._fits and len(text) <= _MOST_HEAD_BYTES
        else:
            inner = inner_extents(depth, self.expected)
            self._fits = inner is not None
            self._numbers = None if inner is None else Numbers(inner, self._size)
            self._head = text[:opens]
        return self._numbers, text, opens


def read(body: bytes, expected: Expected) -> Question | None:
    """The rows of a whole body; None where it does not fit."""
    opens = body.find(b"[")
    inner = inner_extents(nesting(body, opens), expected)
    if inner is None or (found := read_whole(body, inner, opens)) is None:
        return None
    return _question(body[:opens], *found, 1 + len(inner), expected)


def read_lists(text: bytes, expected: Expected) -> Rows | None:
    """The flat rows of a bare `[[…], …]`; None where it is anything else."""
    found = read_whole(text, (expected.width,))
    return None if found is None or found[1] else found[0].reshape(-1, expected.width)


def inner_extents(depth: int | None, expected: Expected) -> tuple[int, ...] | None:
    """The extents of rows that are nested so deep; None for no rows of the model."""
    if depth == 2:
        return (expected.width,)
    return expected.shape if depth == 1 + len(expected.shape) and depth > 2 else None


def _question(head: bytes, numbers: Float32, rest: bytes, depth: int, expected: Expected) -> Question | None:
    """What was asked, by all that came; None if it is more than rows and `per_feature`."""
    per_feature = _said(head, rest)
    if per_feature is None:
        return None
    return Question(numbers.reshape(-1, expected.width), depth == 2, None, per_feature)


def _said(head: bytes, rest: bytes) -> bool | None:
    """What stands around the rows, `per_feature`; None if it is more than that."""
    if head == b'{"inputs":' and rest == b"}":
        return False
    try:
        document = orjson.loads(head + b"null" + rest)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.keys() - _FIELDS or document.get("inputs", 0) is not None:
        return None
    per_feature = document.get("per_feature", False)
    return per_feature if isinstance(per_feature, bool) else None
