"""A JSON array of numbers, nested in an expected way, from parts of its text to float32."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from service.serving.codecs.json_kernel import COUNTS, DONE, FILLED, LOOKAHEAD, STAGE, scan

Float32 = np.ndarray[tuple[int], np.dtype[np.float32]]
_BRACKETS = re.compile(rb"(?:\[[ \t\r\n]*)+(?=[^\[ \t\r\n])")
_MOST_BRACKETS_BYTES = 1024
_MOST_REST_BYTES = 1024 * 1024
# A float32 between 0 and 1 takes ten bytes with its comma, few numbers take less than four, and none one.
_BYTES_A_NUMBER, _LEAST_BYTES_A_NUMBER = 4, 2
_PADDING = bytes(LOOKAHEAD)


class Numbers:
    """Reads one array as its text comes; it keeps no text but the few bytes of a number that is cut.

    Args:
        inner: items of an array at each depth within the outermost one, which has one at least.
        size: of the text, in bytes, about: there is room at once for what is likely in so many.

    Attributes:
        depth: how deep it is nested.
        fits: whether all that came is such an array as far as it goes, of numbers that are float32's. If
            not, the text is for a careful reader, which may well accept it.
        rest: what came behind the array; None where its end has not come.
    """

    def __init__(self, inner: tuple[int, ...], size: int) -> None:
        self._extents, self.depth = _extents(inner), 1 + len(inner)
        self._state = np.zeros(COUNTS + self.depth, np.int64)
        self._room = max(size // _BYTES_A_NUMBER, LOOKAHEAD)
        self._numbers: Float32 = np.empty(self._room, np.float32)
        self._carried = b""
        self.fits = True
        self.rest: bytes | None = None

    def feed(self, part: bytes, at: int = 0) -> None:
        """Read on, in the first part from where the array begins."""
        if self.rest is not None:
            self._add(self.rest, part)
        elif self.fits:
            begin = self._bridge(part) if self._carried else at
            if begin is not None:
                self._keep(part, self._scan(part, begin))

    def end(self, part: bytes = b"", at: int = 0) -> bool:
        """Read the last part; whether all that came was one array and something behind it."""
        if self.rest is not None:
            self._add(self.rest, part)
        elif self.fits:
            text = b"".join((self._carried, part, _PADDING))
            at = self._scan(text, at)
            # In what was put behind the last part no array ends.
            self.fits = self._is_done() and at <= len(text) - LOOKAHEAD
            self.rest = text[at:-LOOKAHEAD]
        return self.fits

    def take(self, multiple: int = 1) -> Float32:
        """What was read since the last time: as many times `multiple` as there are, at the end all."""
        numbers, filled = self._numbers, self.count
        if self.rest is not None:
            self._state[FILLED] = 0
            return numbers[:filled]
        left = filled % multiple
        self._numbers = np.empty(max(self._room, left + LOOKAHEAD), np.float32)
        self._numbers[:left] = numbers[filled - left : filled]
        self._state[FILLED] = left
        return numbers[: filled - left]

    @property
    def count(self) -> int:
        """How many numbers were read and not taken."""
        return int(self._state[FILLED])

    def _add(self, rest: bytes, part: bytes) -> None:
        """More came behind the array: a little may."""
        if len(rest) > _MOST_REST_BYTES:
            self.fits = False
        else:
            self.rest = rest + part

    def _bridge(self, part: bytes) -> int | None:
        """Read a number that was cut: where to go on in the part that has its end.

        None where there is no going on: behind the array, or in a part so short that all of it is carried.
        """
        cut, text = len(self._carried), self._carried + part[:LOOKAHEAD]
        at = self._scan(text, 0)
        if at < cut or self._is_done():
            self._keep(text + part[LOOKAHEAD:], at)
            return None
        self._carried = b""
        return at - cut

    def _keep(self, text: bytes, at: int) -> None:
        """Keep what was not read: it is carried, or stands behind the array."""
        if self._is_done():
            self._carried, self.rest = b"", text[at:]
        else:
            self._carried = text[at:]

    def _is_done(self) -> bool:
        """Whether the array ended."""
        return bool(self._state[STAGE] == DONE)

    def _scan(self, text: bytes, at: int) -> int:
        """Where it stopped: where a number might be cut, behind the array, or behind all if it is none."""
        limit, view = len(text) - LOOKAHEAD, np.frombuffer(text, np.uint8)
        while at < limit:
            at = scan(view, at, self._numbers, self._extents, self._state)
            if at < 0:
                self.fits = False
                return len(text)
            if at >= limit or self._is_done():
                break
            self._numbers = np.concatenate([self._numbers, np.empty_like(self._numbers)])
        return at


def read_whole(text: bytes, inner: tuple[int, ...], at: int = 0) -> tuple[Float32, bytes] | None:
    """What `Numbers` reads, in less time where all of the text is there.

    Args:
        text: one array and something behind it.
        inner: items of an array at each depth within the outermost one.
        at: where it begins.

    Returns:
        The numbers and what came behind them; None where it is no such array, or one for a careful reader.
    """
    numbers = np.empty(len(text) // _LEAST_BYTES_A_NUMBER + LOOKAHEAD, np.float32)
    state = np.zeros(COUNTS + 1 + len(inner), np.int64)
    end = scan(np.frombuffer(text + _PADDING, np.uint8), at, numbers, _extents(inner), state)
    if state.item(STAGE) != DONE or not 0 <= end <= len(text):
        return None
    return numbers[: state.item(FILLED)], text[end:]


@cache
def _extents(inner: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array((0, *inner), np.int64)


def nesting(text: bytes, at: int = 0) -> int | None:
    """How many brackets open where an array begins; None where that cannot be seen (yet), or at no place."""
    if at < 0:
        return None
    if text[at : at + 2] == b"[[" and text[at + 2 : at + 3].isdigit():
        return 2  # what nearly all do, without the pattern
    found = _BRACKETS.match(text, at, at + _MOST_BRACKETS_BYTES)
    return None if found is None else found.group().count(b"[")
