"""One JSON number to float32, for machine code: whatever JSON's grammar allows, and nothing else.

Eight digits are read at a time as one word (Lemire, 2021, "Number parsing at a gigabyte per second", and its
ancestors). An integer below 2^53 over a power of ten up to 10^22 is exact (Clinger, 1990); whatever else is
computed nearly, and taken where both neighbours of what came out are the same float32.
"""

from __future__ import annotations

import numpy as np

from service.serving.codecs.words import compiled, load_byte, load_eight, trailing_zeros

LOOKBACK, LOOKAHEAD = 16, 16
"""Bytes before a number's end that are loaded with it, whatever they are, and behind its begin."""

_MINUS, _PLUS, _DOT = b"-+."
_ZERO, _NINE, _E, _LOWER = ord("0"), ord("9"), ord("e"), 0x20
_U = np.uint64
_PAIR, _HALF, _BYTE = _U(16), _U(32), _U(8)
_TEN, _NONE = _U(10), _U(0)
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
_CLOSE_TO = 2.0**-50
_LARGEST = np.float32(np.finfo(np.float32).max)
_NAN = np.float32(np.nan)


@compiled(inline="always")
def _others(word: np.uint64) -> np.uint64:
    """Bits of bytes of a word, less "0" each, that are no digits; of those above the first it may err."""
    return ((word + _TO_NINE) | word) & _HIGH


@compiled(inline="always")
def _number_of(word: np.uint64) -> np.uint64:
    """The number of eight digits, less "0" each, the first of which is the lowest byte."""
    pairs = word * _TEN + (word >> _BYTE)
    low, high = (pairs & _EVEN_PAIRS) * _MILLIONS, ((pairs >> _PAIR) & _EVEN_PAIRS) * _TENTHS
    return ((low + high) >> _HALF) & _LOW_HALF


@compiled(inline="always")
def _last(end: int, digits: int) -> np.uint64:
    """Up to eight digits before a place, less "0" each, with noughts before them."""
    gone, word = _U(64 - 8 * digits), load_eight(end - 8) ^ _ZEROS
    return (word >> gone) << gone


@compiled(inline="always")
def _dot(word: np.uint64) -> int:
    """How many of eight bytes come before a dot; eight where there is none."""
    apart = word ^ _DOTS
    return trailing_zeros((apart - _ONES) & ~apart & _HIGH) >> 3


@compiled(inline="always")
def _up_to_eight(end: int, digits: int) -> np.uint64:
    """The number of one to eight digits before a place; `_BAD` where they are none."""
    word = _last(end, digits)
    return _number_of(word) if _others(word) == _NONE else _BAD


@compiled(inline="always")
def _exactly(whole: np.uint64, digits: int) -> np.float32:
    """A number up to 2^53 over a power of ten up to 10^22."""
    return np.float32(np.float64(np.int64(whole)) / _POWERS[_U(digits)])


@compiled(inline="always")
def _surely(value: float, more: float) -> np.float32:
    """The float32 of all from a number to a little more, both blurred; NaN where that is not one."""
    below, above = np.float32(value * (1 - _CLOSE_TO)), np.float32((value + more) * (1 + _CLOSE_TO))
    return below if below == above and above <= _LARGEST else _NAN


@compiled(inline="always")
def _whole_part(at: int, point: int) -> np.uint64:
    """The number before a dot, of one to seven digits; `_BAD` where there is none."""
    first, length = load_byte(at) - _ZERO, point - at
    if length == 1:
        return _U(first) if 0 <= first <= 9 else _BAD
    return _up_to_eight(point, length) if 0 < length < 8 and first != 0 else _BAD


@compiled()
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


@compiled(inline="always")
def plain_number(at: int, end: int) -> np.float32:
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


@compiled()
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


@compiled(inline="always")
def _is_digit(byte: int) -> bool:
    return _ZERO <= byte <= _NINE


@compiled()
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


@compiled()
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


@compiled(inline="always")
def _ends(byte: int) -> bool:
    """Whether a number that had its whole part has nothing more."""
    return byte != _DOT and (byte | _LOWER) != _E


@compiled()
def any_number(at: int) -> tuple[np.float32, int]:
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
