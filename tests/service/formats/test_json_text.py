"""JSON numbers as text: each is the float32 that Python and numpy make of it, wherever it stands."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.serving.codecs.json_numbers import Numbers
from service.serving.codecs.json_rows import read_lists
from service.serving.codecs.rows import Expected

NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
# Enough of them that the number between them is met in full stride, and within a first and last few bytes.
NEIGHBOURS = (0, 1, 40)
PLAIN = [
    *("0", "-0", "7", "12345678", "123456789", "-255", "16777217", "9007199254740993", "999999999999999999"),
    *("0.0", "-0.0", "0.5", "-1.25", "0.12345678", "0.123456789", "9.1234567890123456", "12.5", "253.0"),
    *("0.1234567890123456", "0.12345678901234567", "100000000000000000.5", "-12345678.87654321"),
    *("1e5", "1E+5", "1e-7", "-7.1525574e-7", "0e0", "0e999", "0.000e5", "1.0e38", "3.4028234663852886e38"),
    *("1e-300", "1e-45", "7e-46", "7.1e-46", "1.17549435e-38", "1.1754942e-38", "0.00000000000000000000001"),
]
NONE = [
    *("", "-", "+1", ".5", "1.", "-.5", "1.e5", "01", "-01", "00", "00.5", "1e", "1e+", "1e-", "e5", "1.5.5"),
    *("0x10", "1_0", "1 2", "1-", "--1", "NaN", "Infinity", "-Infinity", "null", "true", '"1"', "1a", "1;"),
    *("[1]", "]", "1]", "{}", "1,,1", "1,", ",1", "٣", "1\x00", "\x0b1", "1e39", "-1e400", "1e4000"),
    *("0." + "0" * 200 + "x", "9" * 400),
]


def with_neighbours(text: str, count: int) -> bytes:
    """One row of numbers, this one in the middle."""
    return f"[[{','.join([*['0.25'] * count, text, *['0.25'] * count])}]]".encode()


def read(text: str, count: int) -> np.float32 | None:
    rows = read_lists(with_neighbours(text, count), Expected(2 * count + 1, (2 * count + 1,)))
    if rows is None:
        return None
    assert (np.delete(rows[0], count) == 0.25).all()
    return np.float32(rows[0, count])


@pytest.mark.parametrize("count", NEIGHBOURS)
@pytest.mark.parametrize("text", PLAIN)
def test_a_number_is_what_python_reads(text: str, count: int) -> None:
    found, expected = read(text, count), np.float32(float(text))
    assert found == expected
    assert np.signbit(expected) == np.signbit(found) or text == "-0"


@pytest.mark.parametrize("count", NEIGHBOURS)
@pytest.mark.parametrize("text", NONE)
def test_what_is_no_float32_in_json_is_not_read(text: str, count: int) -> None:
    assert read(text, count) is None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.from_regex(NUMBER, fullmatch=True), min_size=1, max_size=60), st.sampled_from([",", ", "]))
@example(["0.25"] * 50 + ["1" + "0" * 21 + "." + "0" * 22 + "e-999"], ",")
@example(["-" + "1" * 22 + "." + "1" * 22 + "E-300"] * 3, ", ")
def test_numbers_are_what_python_reads_or_are_left_alone(texts: list[str], between: str) -> None:
    width = len(texts)
    rows = read_lists(f"[[{between.join(texts)}]]".encode(), Expected(width, (width,)))
    with np.errstate(over="ignore"):
        expected = np.array([float(text) for text in texts]).astype(np.float32)
    if rows is not None:
        np.testing.assert_array_equal(rows[0], expected)
    elif all(len(text) < 18 and abs(value) < 1e38 for text, value in zip(texts, expected, strict=True)):
        pytest.fail("plain numbers were left to the careful reader")


@pytest.mark.parametrize("text", [*PLAIN, "0." + "0" * 30 + "1", "1" * 30])
def test_a_number_may_be_cut_anywhere(text: str) -> None:
    body = with_neighbours(text, 20) + b"}"
    expected = read(text, 20)
    for cut in range(1, len(body)):
        numbers = Numbers((41,), 41)
        numbers.feed(body[:cut])
        numbers.feed(body[cut:])
        assert numbers.end() == (expected is not None)
        if expected is not None:
            assert numbers.take()[20] == expected
            assert numbers.rest == b"}"


def test_there_is_room_for_the_shortest_numbers() -> None:
    rows = np.random.default_rng(0).integers(0, 10, (3, 5000))
    text = str(rows.tolist()).replace(" ", "").encode()
    np.testing.assert_array_equal(read_lists(text, Expected(5000, (5000,))), rows)
