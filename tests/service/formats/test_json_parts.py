"""The reader of parts against the careful one: it has the same rows, or leaves it the body."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import orjson
import pytest

from service.serving import codecs
from service.serving.arriving import Body
from service.serving.codecs import Expected, json_careful
from service.serving.codecs.json_rows import RowsReader, read
from service.serving.errors import BadTensor

EXPECTED = Expected(6, (2, 3))
ROWS = np.random.default_rng(0).random((9, 6), dtype=np.float32)
PLAIN = orjson.dumps({"inputs": ROWS}, option=orjson.OPT_SERIALIZE_NUMPY)
SPACED = PLAIN.replace(b",", b" ,\n ").replace(b"[", b"[ ").replace(b":", b" : ") + b"\r\n"
INDENTED = PLAIN.replace(b"],", b"],\n\t")
OTHERS = [
    PLAIN.replace(b"]]", b'],["],"]]'),
    PLAIN.replace(b"]]", b"],]"),
    PLAIN.replace(b"]]", b"]],"),
    PLAIN.replace(b"]]", b"]"),
    PLAIN.replace(b"]]", b"]]]"),
    PLAIN.replace(b"]]}", b"]]"),
    PLAIN.replace(b"]]}", b"]]}}"),
    *(PLAIN[:-1] + end for end in (b",", b"]", b"1")),
    *(PLAIN[:-2] + end + b"}" for end in (b",", b"}", b"1", b" ")),
    PLAIN.replace(b"]]}", b"]]} x"),
    PLAIN.replace(b"]]}", b'],[1,2,3,4,5]], "per_feature": true}'),
    PLAIN.replace(b"]]}", b']], "per_feature": true}'),
    PLAIN.replace(b"]]}", b']], "inputs": [[1,2,3,4,5,6]]}'),
    PLAIN.replace(b"]]", b"],[1,2,3,4,5]]"),
    PLAIN.replace(b"]]", b"],[1,2,3,4,5,1e39]]"),
    PLAIN.replace(b"]]", b"],[1,2,3,4,5,null]]"),
    PLAIN.replace(b"]]", b"],[]]"),
    PLAIN.replace(b"],[", b"],,[", 1),
    PLAIN.replace(b"],[", b"][", 1),
    b'{"per_feature": false, ' + PLAIN[1:],
    b"\xef\xbb\xbf" + PLAIN,
    b"\x0b" + PLAIN,
    b" " * 100 + PLAIN,
    b'{"inputs": []}',
    b'{"inputs": [[[1,2,3],[4,5,6]],[[1,2,3],[4,5,6]]]}',
    b"[[1,2,3,4,5,6]]",
    b"",
]


def fed(body: bytes, part: int, taken: int) -> np.ndarray[Any, Any] | None:
    """The rows that come of parts of so many bytes, taken by so many; None where it does not fit."""
    reader, found = RowsReader(EXPECTED, len(body)), []
    for start in range(0, len(body), part):
        reader.feed(body[start : start + part])
        if reader.count >= taken:
            found.append(reader.take())
    question = reader.end()
    assert (question is not None) == reader.fits
    if question is None or not question.flat or question.per_feature:
        return None
    return np.concatenate([*found, question.rows])


def whole(body: bytes) -> np.ndarray[Any, Any] | None:
    """The rows by the careful reader, or None where it refuses them, or it says more than flat rows."""
    try:
        question = json_careful.read(body, EXPECTED)
    except BadTensor:
        return None
    return question.rows if question.flat and not question.per_feature else None


@pytest.mark.parametrize("body", [PLAIN, SPACED, INDENTED], ids=["plain", "spaced", "indented"])
@pytest.mark.parametrize("part", [1, 7, 64, 10_000])
@pytest.mark.parametrize("taken", [1, 4, 100])
def test_plain_rows_are_read_whatever_the_cuts(body: bytes, part: int, taken: int) -> None:
    rows = fed(body, part, taken)
    assert rows is not None
    np.testing.assert_array_equal(rows, ROWS)


@pytest.mark.parametrize("body", OTHERS, ids=range(len(OTHERS)))
@pytest.mark.parametrize("part", [1, 7, 64, 10_000])
@pytest.mark.parametrize("taken", [1, 4])
def test_what_others_refuse_or_read_otherwise_does_not_fit(body: bytes, part: int, taken: int) -> None:
    rows, expected = fed(body, part, taken), whole(body)
    if expected is None:
        assert rows is None
    elif rows is not None:
        np.testing.assert_array_equal(rows, expected)


def test_a_body_with_any_one_fault_is_read_as_others_read_it() -> None:
    chance, differing = random.Random(0), 0
    for _ in range(1500):
        place = chance.randrange(len(PLAIN))
        gone = chance.choice([0, 1, 2])
        body = PLAIN[:place] + chance.choice([b"", b"[", b"]", b",", b'"', b" ", b"-", b"}"])
        body += PLAIN[place + gone :]
        rows, expected = fed(body, chance.choice([5, 50, 500]), 3), whole(body)
        if rows is not None:
            assert expected is not None
            np.testing.assert_array_equal(rows, expected)
        differing += rows is None and expected is not None
    assert differing < 30, "hardly any body that others read is left to them"


def test_a_large_body_makes_room_and_a_fault_in_it_has_its_place() -> None:
    rows = np.random.default_rng(0).integers(0, 10, (40_000, 6)).astype(np.float32)
    body = b'{"inputs":' + orjson.dumps(rows.astype(int).tolist()) + b"}"
    question = read(body, EXPECTED)
    assert question is not None
    np.testing.assert_array_equal(question.rows, rows)
    with pytest.raises(BadTensor) as caught:
        codecs.decode(body.replace(b"]]}", b"],[1,2,3,4,1e39,6]]}"), codecs.JSON, EXPECTED)
    assert (caught.value.row, caught.value.column) == (40_000, 4)


def test_what_was_read_for_one_model_is_no_question_to_another() -> None:
    """Which one a name means may change while a body is coming."""
    for asked, answers in ((EXPECTED, True), (Expected(6, (2, 3)), False)):
        body = Body(RowsReader(EXPECTED, len(PLAIN)))
        body.add(PLAIN)
        assert (body.question(asked) is not None) == answers
        assert body.whole() == PLAIN


@pytest.mark.parametrize("part", [100, 100_000])
def test_little_may_come_behind_the_rows(part: int) -> None:
    """Else whoever sends spaces without end has them put together again with every part."""
    reader = RowsReader(EXPECTED, len(PLAIN))
    reader.feed(PLAIN[:-1])
    for _ in range(3_000_000 // part):
        reader.feed(b" " * part)
    assert not reader.fits
    assert reader.end(b"}") is None
