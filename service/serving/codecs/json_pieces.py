"""Large JSON bodies of flat rows, parsed piece by piece, as they come or as a whole.

A parser works on memory of several times its document. That of a whole large body is new each time, page by
page, which takes as long as the parsing; a piece's is small and stays in the processor's cache. And the rows
of a piece can be on their way while the next one is still coming.
"""

from __future__ import annotations

import re

import numpy as np

from service.serving.codecs.json_numbers import read_lists
from service.serving.codecs.rows import Expected, Question, Rows, finite
from service.serving.errors import BadTensor

PIECE_BYTES = 256 * 1024
_SPACE = b" \t\r\n"
_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"inputs"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*(?=\[[^\[])')
_BETWEEN_ROWS = b"],"
_TAIL = re.compile(rb"\][ \t\r\n]*\][ \t\r\n]*\}[ \t\r\n]*\Z")
_TAIL_BYTES = 256


class Pieces:
    """Reads `{"inputs": [[…], …]}`, and nothing else, from its parts in their order.

    A cut is made behind a row. Whatever is not what it seems to be, a bracket in a string or a row behind a
    wrong comma, leaves a piece that is no list of rows: so that pieces which are, one and all, make a body
    which is.

    Args:
        expected: what the model takes.
        piece_bytes: of what is parsed at a time, at least; the first holds all that comes before the rows.

    Attributes:
        fits: whether the body is such a one as far as it was fed; if not, it is for the other readers.
    """

    def __init__(self, expected: Expected, piece_bytes: int = PIECE_BYTES) -> None:
        self._expected, self._piece_bytes = expected, piece_bytes
        self._parts: list[bytes] = []
        self._bytes = 0
        self._headed = False
        self.fits = True

    def feed(self, part: bytes) -> Rows | None:
        """The rows that end in this part of the body, once they are enough to be parsed."""
        if not self.fits:
            return None
        self._parts.append(part)
        self._bytes += len(part)
        if self._bytes < self._piece_bytes:
            return None
        if not self._has_head():
            return None
        *before, last = self._parts
        cut = last.rfind(_BETWEEN_ROWS) + 1
        if not cut:
            return None
        self._parts = [last[cut + 1 :]]
        self._bytes = len(self._parts[0])
        return self._parsed([*before, last[:cut]])

    def end(self) -> Rows | None:
        """The rest of the rows, where the body ends behind them."""
        if not self.fits or not self._has_head():
            return None
        text = b"".join(self._parts)
        for closing in (b"}", b"]"):
            text = text.rstrip(_SPACE)
            if not text.endswith(closing):
                self.fits = False
                return None
            text = text[:-1]
        return self._parsed([text])

    def _has_head(self) -> bool:
        """Whether the body began as it must; what comes before the first row is taken off."""
        if not self._headed:
            text = b"".join(self._parts)
            found = _HEAD.match(text)
            self._headed, self.fits = True, found is not None
            self._parts = [text[found.end() :]] if found is not None else []
        return self.fits

    def _parsed(self, parts: list[bytes]) -> Rows | None:
        try:
            rows = read_lists(b"".join((b"[", *parts, b"]")), self._expected)
            if rows is not None:
                return finite(rows, self._expected)
        except BadTensor:
            pass  # it knows a row's place in its piece, not in the body: whoever reads the whole will say it
        self.fits = False
        return None


def read(body: bytes, expected: Expected) -> Question | None:
    """The rows of a large body; None for what is small, or for the other readers."""
    # What ends otherwise would be found at its end not to fit, and be parsed again.
    if len(body) <= PIECE_BYTES or _TAIL.search(body, len(body) - _TAIL_BYTES) is None:
        return None
    pieces, found = Pieces(expected), list[Rows]()
    for start in range(0, len(body), PIECE_BYTES):
        rows = pieces.feed(body[start : start + PIECE_BYTES])
        if rows is not None:
            found.append(rows)
        if not pieces.fits:
            return None
    last = pieces.end()
    if last is None:
        return None
    return Question(np.concatenate([*found, last]), True)
