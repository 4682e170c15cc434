"""The inner loop of reading JSON numbers: text to float32 in machine code, which numba makes of this file.

No library goes from JSON's text straight to float32. Parsers that keep every number as a double in a tree of
their own take three times as long, and their memory is several times the text's.

The end of a number is found before the number is read: sixty-four bytes at a time are compared with a comma.
So the processor reads several numbers at once, where one that walks from digit to digit waits at each. Eight
digits are read at a time as one word (Lemire, 2021, "Number parsing at a gigabyte per second", and its
ancestors). An integer below 2^53 over a power of ten up to 10^22 is exact (Clinger, 1990); whatever else is
computed nearly, and taken where both neighbours of what came out are the same float32.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numba
import numpy as np
from numba import types

from service.serving.codecs.words import address_of, find_commas, load_byte, load_eight, trailing_zeros

BLOCK = 64
"""Bytes in which commas are looked for at a time."""
LOOKAHEAD = BLOCK + 16
"""Bytes of text that must follow the last place at which reading may go on: a block, and what is loaded with
the first bytes of a number at its end."""
STAGE, DEPTH, FILLED, COUNTS = 0, 1, 2, 3
"""What stands where in the state that `scan` keeps: behind `COUNTS` how many items each open array has."""
VALUE, AFTER, DONE = 0, 1, 2
"""Stages: a value must come; a comma or a bracket must; the outermost array is closed."""

_COMMA, _MINUS, _PLUS, _DOT, _SPACE, _OPEN, _CLOSE = b",-+. []"
_ZERO, _NINE, _E, _LOWER = ord("0"), ord("9"), ord("e"), 0x20
_U = np.uint64
_WORD, _PAIR, _HALF, _BYTE = _U(64), _U(16), _U(32), _U(8)
_ONE, _TEN, _NONE = _U(1), _U(10), _U(0)
_ZEROS, _TO_NINE, _HIGH = _U(0x3030303030303030), _U(0x7676767676767676), _U(0x8080808080808080)
_EVEN_PAIRS, _LOW_HALF = _U(0x000000FF000000FF), _U(0xFFFFFFFF)
_MILLIONS, _TENTHS, _HUNDRED_MILLION = _U(0x000F424000000064), _U(0x0000271000000001), _U(100_000_000)
_DOTS, _ONES = _U(0x2E2E2E2E2E2E2E2E), _U(0x0101010101010101)
_EXACT, _BAD = _U(2**53), _U(2**64 - 1)
_ROOM_FOR_ONE_MORE, _ROOM_FOR_EIGHT_MORE = _U(10**18), _U(10**11)
_WHOLE = np.array([10**power for power in range(17)], np.uint64)
_POWERS = np.array([10.0**power for power in range(23)])
_MOST_POWER, _MOST_DIGITS, _MOST_EXPONENT = 22, 24, 400
# Noughts count too: twice the latter, a dot, signs and an exponent are less than what must follow.
_MOST_EXPONENT_DIGITS, _MOST_IN_A_ROW = 6, 24
_LOOKBACK = 16  # bytes before a number's end are loaded with it, whatever they are
_CLOSE_TO = 2.0**-50
_LARGEST = np.float32(np.finfo(np.float32).max)
_NAN = np.float32(np.nan)


_inner = numba.njit(nogil=True, boundscheck=False, error_model="numpy")
_inlined = numba.njit(inline="always", nogil=True, boundscheck=False, error_model="numpy")


@_inlined
def _others(word: np.uint64) -> np.uint64:
    """Bits of bytes of a word, less "0" each, that are no digits; of those above the first it may err."""
    return ((word + _TO_NINE) | word) & _HIGH


@_inlined
def _number_of(word: np.uint64) -> np.uint64:
    """The number of eight digits, less "0" each, the first of which is the lowest byte."""
    pairs = word * _TEN + (word >> _BYTE)
    low, high = (pairs & _EVEN_PAIRS) * _MILLIONS, ((pairs >> _PAIR) & _EVEN_PAIRS) * _TENTHS
    return ((low + high) >> _HALF) & _LOW_HALF


@_inlined
def _last(end: int, digits: int) -> np.uint64:
    """Up to eight digits before a place, less "0" each, with noughts before them."""
    gone, word = _U(64 - 8 * digits), load_eight(end - 8) ^ _ZEROS
    return (word >> gone) << gone


@_inlined
def _dot(word: np.uint64) -> int:
    """How many of eight bytes come before a dot; eight where there is none."""
    apart = word ^ _DOTS
    return trailing_zeros((apart - _ONES) & ~apart & _HIGH) >> 3


@_inlined
def _up_to_eight(end: int, digits: int) -> np.uint64:
    """The number of one to eight digits before a place; `_BAD` where they are none."""
    word = _last(end, digits)
    return _number_of(word) if _others(word) == _NONE else _BAD


@_inlined
def _exactly(whole: np.uint64, digits: int) -> np.float32:
    """A number up to 2^53 over a power of ten up to 10^22."""
    return np.float32(np.float64(np.int64(whole)) / _POWERS[_U(digits)])


@_inlined
def _surely(value: float, more: float) -> np.float32:
    """The float32 of all from a number to a little more, both blurred; NaN where that is not one."""
    below, above = np.float32(value * (1 - _CLOSE_TO)), np.float32((value + more) * (1 + _CLOSE_TO))
    return below if below == above and above <= _LARGEST else _NAN


@_inlined
def _whole_part(at: int, point: int) -> np.uint64:
    """The number before a dot, of one to seven digits; `_BAD` where there is none."""
    first, length = load_byte(at) - _ZERO, point - at
    if length == 1:
        return _U(first) if 0 <= first <= 9 else _BAD
    return _up_to_eight(point, length) if 0 < length < 8 and first != 0 else _BAD


@_inner
def _long(whole: np.uint64, begin: int, end: int) -> np.float32:
    """A number with nine to twenty-four digits behind its dot; NaN where they are none, or it is not sure."""
    kept, more, rest = end - begin, 0.0, _NONE
    if kept > 16:
        rest, more, kept = _up_to_eight(end, kept - 16), 1e-16, 16
    high, low = _up_to_eight(begin + 8, 8), _up_to_eight(begin + kept, kept - 8)
    if max(high, low, rest) == _BAD:
        return _NAN
    scale = _U(kept - 8)
    if whole < _TEN and more == 0.0:
        every = (whole * _HUNDRED_MILLION + high) * _WHOLE[scale] + low
        if every <= _EXACT:
            return _exactly(every, kept)
    return _surely(np.float64(whole) + (np.float64(high) + np.float64(low) / _POWERS[scale]) / 1e8, more)


@_inlined
def _plain(at: int, end: int) -> np.float32:
    """The number between two places: up to eight digits, or up to seven, a dot and up to twenty-four.

    NaN where it is anything else.
    """
    negative = load_byte(at) == _MINUS
    at += int(negative)
    point = at + 1 if load_byte(at + 1) == _DOT else at + _dot(load_eight(at))
    if point < end:
        whole, digits = _whole_part(at, point), end - point - 1
        if whole == _BAD or not 0 < digits <= _MOST_DIGITS:
            value = _NAN
        elif digits <= 8:
            decimals = _up_to_eight(end, digits)
            value = _NAN if decimals == _BAD else _exactly(whole * _WHOLE[_U(digits)] + decimals, digits)
        else:
            value = _long(whole, point + 1, end)
    else:
        length = end - at
        whole = _up_to_eight(end, length) if 0 < length <= 8 else _BAD
        plain = load_byte(at) != _ZERO or (length == 1 and not negative)
        value = _exactly(whole, 0) if plain and whole != _BAD else _NAN
    return -value if negative else value


@_inner
def _nearly(whole: np.uint64, power: int) -> np.float32:
    """`whole * 10**power` as float32; NaN where that is not sure, or none."""
    value = np.float64(whole)
    while power < -_MOST_POWER:
        value /= _POWERS[_MOST_POWER]
        power += _MOST_POWER
    while power > _MOST_POWER:
        value *= _POWERS[_MOST_POWER]
        power -= _MOST_POWER
    if power < 0:
        value /= _POWERS[-power]
    else:
        value *= _POWERS[power]
    return _surely(value, 0.0)


@_inlined
def _is_digit(byte: int) -> bool:
    return _ZERO <= byte <= _NINE


@_inner
def _digits(at: int, whole: np.uint64) -> tuple[np.uint64, int]:
    """A number with the digits at a place behind its own, and where they end; they are no more than fit."""
    first = at
    while whole < _ROOM_FOR_EIGHT_MORE and at < first + 16:
        word = load_eight(at) ^ _ZEROS
        if _others(word) != _NONE:
            break
        whole, at = whole * _HUNDRED_MILLION + _number_of(word), at + 8
    byte = load_byte(at)
    while _is_digit(byte) and whole < _ROOM_FOR_ONE_MORE and at < first + _MOST_IN_A_ROW:
        whole = whole * _TEN + _U(byte - _ZERO)
        at += 1
        byte = load_byte(at)
    return whole, at


@_inner
def _exponent(at: int) -> tuple[int, int]:
    """The exponent at a place, behind its `e`, and where it ends, which is where it began if it is none."""
    began, sign = at, load_byte(at)
    negative = sign == _MINUS
    if sign in (_MINUS, _PLUS):
        at += 1
    first, exponent = at, 0
    while _is_digit(load_byte(at)) and exponent < _MOST_EXPONENT and at < first + _MOST_EXPONENT_DIGITS:
        exponent = exponent * 10 + load_byte(at) - _ZERO
        at += 1
    return (-exponent if negative else exponent), (began if at == first else at)


@_inlined
def _ends(byte: int) -> bool:
    """Whether a number that had its whole part has nothing more."""
    return byte != _DOT and (byte | _LOWER) != _E


@_inner
def _any(at: int) -> tuple[np.float32, int]:
    """Any number at a place, as JSON writes them, and where it ends; NaN where there is none."""
    negative = load_byte(at) == _MINUS
    at += int(negative)
    first, power = at, 0
    whole, at = _digits(at, _NONE)
    if at == first or (load_byte(first) == _ZERO and at > first + 1):
        return _NAN, at
    negative = negative and (whole != _NONE or not _ends(load_byte(at)))  # -0 is 0, as -0.0 is not
    if load_byte(at) == _DOT:
        dot = at
        whole, at = _digits(at + 1, whole)
        power = dot + 1 - at
        if power == 0:
            return _NAN, at
    if _is_digit(load_byte(at)):
        return _NAN, at
    if (load_byte(at) | _LOWER) == _E:
        exponent, end = _exponent(at + 1)
        if end == at + 1:
            return _NAN, at
        power, at = power + exponent, end
    if whole == _NONE:
        value = np.float32(0.0)
    elif whole <= _EXACT and -_MOST_POWER <= power <= 0:
        value = _exactly(whole, -power)
    elif whole <= _EXACT and 0 < power <= _MOST_POWER:
        value = np.float32(np.float64(np.int64(whole)) * _POWERS[_U(power)])
    else:
        value = _nearly(whole, power)
    return (-value if negative else value), at


@_inlined
def _run(at: int, limit: int, numbers: np.ndarray, filled: int) -> tuple[int, int]:
    """Numbers with a comma behind each; where what is something else begins, and how many there are now."""
    base = at
    while base < limit and len(numbers) - filled >= BLOCK:
        commas = find_commas(base)
        while commas != _NONE:
            end = base + trailing_zeros(commas)
            commas &= commas - _ONE
            begins = at + int(load_byte(at) == _SPACE)
            value = _plain(begins, end)
            if np.isnan(value):
                value, ended = _any(begins)
                if np.isnan(value) or ended != end:
                    return at, filled
            numbers[_U(filled)] = value
            filled += 1
            at = end + 1
        base += BLOCK
    return at, filled


@_inlined
def _is_space(byte: int) -> bool:
    return byte == _SPACE or 9 <= byte <= 10 or byte == 13


@_inner
def _mark(byte: int, extents: np.ndarray, state: np.ndarray) -> bool:
    """Take a comma or a bracket; False where it may not stand."""
    depth = state[DEPTH]
    if state[STAGE] == VALUE:
        if byte != _OPEN or depth == len(extents):
            return False
        state[DEPTH] = depth + 1
        state[COUNTS + depth] = 0
        return True
    if byte == _COMMA:
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


def _scan(text: np.ndarray, begin: int, numbers: np.ndarray, extents: np.ndarray, state: np.ndarray) -> int:
    start, innermost = address_of(text), len(extents)
    at, limit = start + begin, start + len(text) - LOOKAHEAD
    while at < limit and state[STAGE] != DONE:
        inside = state[STAGE] == VALUE and state[DEPTH] == innermost
        if inside and at >= start + _LOOKBACK:
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
            value, at = _any(at)
            if np.isnan(value):
                return -1
            numbers[state[FILLED]] = value
            state[FILLED] += 1
            state[COUNTS + innermost - 1] += 1
            state[STAGE] = AFTER
    return at - start


def _compiled() -> Any:
    """`_scan` in machine code, kept on disk for the next process where there is a place for that."""
    text = types.Array(types.uint8, 1, "C", readonly=True)
    arrays = (types.float32[::1], types.int64[::1], types.int64[::1])
    signature = types.intp(text, types.intp, *arrays)
    compiled = partial(numba.njit, signature, nogil=True, boundscheck=False, error_model="numpy")
    try:
        return compiled(cache=True)(_scan)
    except RuntimeError:  # neither this file's folder nor the user's can be written to
        return compiled()(_scan)


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
