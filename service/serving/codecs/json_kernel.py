"""The inner loop of reading JSON numbers: text to float32 in machine code, which numba makes of this file.

No library goes from JSON's text straight to float32. Parsers that keep every number as a double in a tree of
their own take twice as long, and their memory is several times the text's.

The end of a number is found before the number is read: sixty-four bytes at a time are compared with a comma.
So the processor reads several numbers at once, where one that walks from digit to digit waits at each.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numba import types

from service.serving.codecs import json_digits, words
from service.serving.codecs.json_digits import LOOKBACK, any_number, plain_number
from service.serving.codecs.words import COMMA, address_of, compiled, find_commas, load_byte, trailing_zeros

BLOCK = 64
"""Bytes in which commas are looked for at a time."""
LOOKAHEAD = BLOCK + json_digits.LOOKAHEAD
"""Bytes of text that must follow the last place at which reading may go on: a block, and what is loaded with
the first bytes of a number at its end."""
STAGE, DEPTH, FILLED, COUNTS = 0, 1, 2, 3
"""What stands where in the state that `scan` keeps: behind `COUNTS` how many items each open array has."""
VALUE, AFTER, DONE = 0, 1, 2
"""Stages: a value must come; a comma or a bracket must; the outermost array is closed."""

_SPACE, _OPEN, _CLOSE = b" []"
_ONE, _NONE = np.uint64(1), np.uint64(0)
# numba compiles again when this file has changed, or what its function closes over: here, these.
_PARTS = (json_digits, words)


@compiled(inline="always")
def _run(at: int, limit: int, numbers: np.ndarray, filled: int) -> tuple[int, int]:
    """Numbers with a comma behind each; where what is something else begins, and how many there are now."""
    base = at
    while base < limit and len(numbers) - filled >= BLOCK:
        commas = find_commas(base)
        while commas != _NONE:
            end = base + trailing_zeros(commas)
            commas &= commas - _ONE
            begins = at + int(load_byte(at) == _SPACE)
            value = plain_number(begins, end)
            if np.isnan(value):
                value, ended = any_number(begins)
                if np.isnan(value) or ended != end:
                    return at, filled
            numbers[np.uint64(filled)] = value
            filled += 1
            at = end + 1
        base += BLOCK
    return at, filled


@compiled(inline="always")
def _is_space(byte: int) -> bool:
    return byte == _SPACE or 9 <= byte <= 10 or byte == 13


@compiled()
def _mark(byte: int, extents: np.ndarray, state: np.ndarray) -> bool:
    """Take a comma or a bracket; False where it may not stand."""
    depth = state[DEPTH]
    if state[STAGE] == VALUE:
        if byte != _OPEN or depth == len(extents):
            return False
        state[DEPTH] = depth + 1
        state[COUNTS + depth] = 0
        return True
    if byte == COMMA:
        state[STAGE] = VALUE
        return True
    if byte != _CLOSE or (depth > 1 and state[COUNTS + depth - 1] != extents[depth - 1]):
        return False
    state[DEPTH] = depth - 1
    if depth == 1:
        state[STAGE] = DONE
    else:
        state[COUNTS + depth - 2] += 1
    return True


@compiled(inline="always")
def _read(text: np.ndarray, begin: int, numbers: np.ndarray, extents: np.ndarray, state: np.ndarray) -> int:
    start, innermost = address_of(text), len(extents)
    at, limit = start + begin, start + len(text) - LOOKAHEAD
    while at < limit and state[STAGE] != DONE:
        inside = state[STAGE] == VALUE and state[DEPTH] == innermost
        if inside and at >= start + LOOKBACK:
            had = state[FILLED]
            at, state[FILLED] = _run(at, limit, numbers, had)
            state[COUNTS + innermost - 1] += state[FILLED] - had
            if at >= limit:
                break
        mark = load_byte(at)
        if _is_space(mark) or _mark(mark, extents, state):
            at += 1
        elif not inside:
            return -1
        elif state[FILLED] == len(numbers):
            break
        else:
            value, at = any_number(at)
            if np.isnan(value):
                return -1
            numbers[state[FILLED]] = value
            state[FILLED] += 1
            state[COUNTS + innermost - 1] += 1
            state[STAGE] = AFTER
    return at - start


def _compiled() -> Any:
    """`_read` in machine code, kept on disk for the next process where there is a place for that."""
    edition = zlib.crc32(b"".join(Path(part.__file__ or "").read_bytes() for part in _PARTS))

    def scan(
        text: np.ndarray, begin: int, numbers: np.ndarray, extents: np.ndarray, state: np.ndarray
    ) -> int:
        return _read(text, begin, numbers, extents, state) if edition >= 0 else -1

    text = types.Array(types.uint8, 1, "C", readonly=True)
    arrays = (types.float32[::1], types.int64[::1], types.int64[::1])
    signature = types.intp(text, types.intp, *arrays)
    try:
        return compiled(signature, cache=True)(scan)
    except RuntimeError:  # neither this file's folder nor the user's can be written to
        return compiled(signature)(scan)


_machine_code = _compiled()


def scan(
    text: np.ndarray[Any, np.dtype[np.uint8]],
    at: int,
    numbers: np.ndarray[Any, np.dtype[np.float32]],
    extents: np.ndarray[Any, np.dtype[np.int64]],
    state: np.ndarray[Any, np.dtype[np.int64]],
) -> int:
    """Read on in an array of numbers, without the interpreter's lock.

    Args:
        text: read-only bytes. What begins in the last `LOOKAHEAD` of them is not read.
        at: where to go on.
        numbers: where they go; full, it stops.
        extents: items of an array at each depth, the outermost first, whose own is not looked at.
        state: `COUNTS + len(extents)` zeros at first, then as it was left.

    Returns:
        Where it stopped: before the last bytes or within them, behind the outermost array, or before the
        number for which there is no room. -1 where the text is no such array, or holds a number that is for
        a careful reader: of more than nineteen digits, none of float32's, or too close to the middle of two.
    """
    return _machine_code(text, at, numbers, extents, state)  # type: ignore[no-any-return]
