"""The fast JSON reader against orjson and numpy: it agrees, or leaves the body to the careful one."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.serving import codecs
from service.serving.codecs import Expected, json_careful, json_rows
from service.serving.errors import BadTensor

SHAPE = (2, 3)
EXPECTED = Expected(6, SHAPE)
floats = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**70), 2**70)
odd = st.sampled_from([None, True, False, "1", "[", "", {}, [], [1.0], {"a": 1}])
number = floats | whole
value = st.one_of(number, number, number, number, number, number, number, odd)
row = st.lists(value, min_size=6, max_size=6) | st.lists(value, max_size=8) | odd
plain = st.lists(number, min_size=6, max_size=6)
shaped = st.lists(st.lists(value, min_size=3, max_size=3) | odd, min_size=2, max_size=2)
inputs = st.one_of(
    st.lists(plain, min_size=1, max_size=4),
    st.lists(row, max_size=4),
    st.lists(shaped, max_size=3),
    odd,
)
documents = st.fixed_dictionaries(
    {"inputs": inputs}, optional={"per_feature": st.booleans() | odd, "encoding": odd, "[": odd}
)


def reference(document: Any) -> np.ndarray[Any, Any] | None:
    """What the document's rows are to numpy, None where they are none of the model."""
    known = set(document) <= {"inputs", "per_feature", "encoding"} and document.get("encoding") is None
    rows = document["inputs"] if known else None
    if not isinstance(rows, list) or not rows or not isinstance(document.get("per_feature", False), bool):
        return None
    if not all(_is(row, (6,)) or _is(row, SHAPE) for row in rows) or len({_depth(row) for row in rows}) > 1:
        return None
    with np.errstate(over="ignore"):
        made = np.array(rows, dtype=np.float64).astype(np.float32).reshape(-1, 6)
    return made if np.isfinite(made).all() else None


def _is(value: Any, shape: tuple[int, ...]) -> bool:
    if not shape:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list) and len(value) == shape[0] and all(_is(v, shape[1:]) for v in value)


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) and value else 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
@example({"inputs": [[1, [2, 3], 4, 5, 6], [7, 8, 9, 10, 11, 12]]})
@example({"inputs": [[1, 2, 3, 4, 5, [6]], [[1], 2, 3, 4, 5, 6]]})
@example({"inputs": [[[1, 2], [3, 4], [5, 6]]]})
@example({"inputs": [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]]})
@example({"inputs": [[1, 2, 3, 4, 5, 2**64]]})
@example({"inputs": [[1, 2, 3, 4, 5, 1e39]]})
@example({"inputs": [[1, 2, 3, 4, 5, -0.0]], "per_feature": True})
def test_json_is_what_orjson_and_numpy_make_of_it(document: dict[str, Any]) -> None:
    body = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS) if _fits(document) else _text(document)
    expected = reference(document)
    if expected is None:
        with pytest.raises(BadTensor):
            codecs.decode(body, codecs.JSON, EXPECTED)
        return
    question = codecs.decode(body, codecs.JSON, EXPECTED)
    np.testing.assert_array_equal(question.rows, expected)
    assert question.flat == (_depth(document["inputs"][0]) == 1)
    assert question.per_feature == document.get("per_feature", False)
    careful = json_careful.read(body, EXPECTED)
    np.testing.assert_allclose(careful.rows, expected, rtol=1e-7)


def _fits(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_fits, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _text(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def test_plain_rows_take_the_fast_way() -> None:
    rows = np.random.default_rng(0).random((3, 6), dtype=np.float32)
    for document in (
        {"inputs": rows.tolist()},
        {"per_feature": True, "inputs": rows.reshape(3, 2, 3).tolist()},
    ):
        question = json_rows.read(orjson.dumps(document), EXPECTED)
        assert question is not None
        np.testing.assert_array_equal(question.rows, rows)


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"inputs": [[1,2,3,4,5,6]]}',
        b'{"inputs": [[1,2,3,4,5,6]], "inputs": [[1,2,3,4,5,6]]}',
        b'{"inputs": [[1,2,3,4,5,6]], "extra": 1}',
        b'{"inputs": [[1,2,3,4,5,123456789012345678901234567890]]}',
        b'{"inputs": [{"a": 1}]}',
        b'{"inputs": "AAAA", "encoding": "base64"}',
        b'{"per_feature": 1, "inputs": [[1,2,3,4,5,6]]}',
        b"[[1,2,3,4,5,6]]",
        b"",
        b"nonsense",
    ],
)
def test_whatever_is_unusual_is_left_to_the_careful_reader(body: bytes) -> None:
    assert json_rows.read(body, EXPECTED) is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[[1,2,3,4,5,6],[1,2,3,4,5]]", (1, None)),
        ("[[1,2,3,4,5,6],[1,2,null,4,5,6]]", (1, 2)),
        ("[[1,2,3,4,5,6],[1,2,3,true,5,6]]", (1, 3)),
        ("[[1,2,3,4,5,6],[1,2,3,[4],5,6]]", (1, None)),
        ("[[1,2,3,4,5,6],7]", (1, None)),
        ("[[[1,2,3],[4,5,6]],[[1,2,3],[4,5,1e39]]]", (1, 5)),
        ('[[[1,2,3],[4,5,6]],[[1,2,3],[4,"5",6]]]', (1, 4)),
        ("[[1,2,3,4,5,-1e39]]", (0, 5)),
        ("[[1,2,3,4,5,6" + "0" * 60 + "]]", (0, 5)),
    ],
)
def test_an_error_names_row_and_column(text: str, place: tuple[int, int | None]) -> None:
    with pytest.raises(BadTensor) as caught:
        codecs.decode(b'{"inputs": ' + text.encode() + b"}", codecs.JSON, EXPECTED)
    assert (caught.value.row, caught.value.column) == place, caught.value


@pytest.mark.parametrize("depth", [20, 5000, 200_000])
def test_a_bottomless_body_is_refused(depth: int) -> None:
    with pytest.raises(BadTensor):
        codecs.decode(b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}", codecs.JSON, EXPECTED)


@pytest.mark.parametrize("number", ["1", "-0", "1e5", "1E+5", "0.1", "1.5e-300", "9007199254740993", "4e-46"])
def test_numbers_are_read_as_others_read_them(number: str) -> None:
    body = f'{{"inputs": [[{number},0,0,0,0,0]]}}'.encode()
    (read,) = codecs.decode(body, codecs.JSON, EXPECTED).rows[:, 0]
    assert read == np.float32(float(number))
    assert math.copysign(1, read) == math.copysign(1, orjson.loads(number))


def test_threads_do_not_share_a_parser() -> None:
    wrong: list[int] = []

    def ask(seed: int) -> None:
        rows = np.random.default_rng(seed).random((50, 6), dtype=np.float32)
        body = orjson.dumps({"inputs": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
        same = [np.array_equal(codecs.decode(body, codecs.JSON, EXPECTED).rows, rows) for _ in range(30)]
        wrong.extend([] if all(same) else [seed])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
