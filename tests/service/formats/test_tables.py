"""A table's rows, whose columns have names: what is wrong has a place, and answers have columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.serving import codecs
from service.serving.codecs import ARROW, CSV, Reply
from tests.service.formats.reading import TABLE, refused
from tests.service.formats.written import stream

# What is wrong with a table of three columns, and where.
TABLES: list[tuple[str, bytes, Any, Any]] = [
    (CSV, b"age,height\n1,2\n", None, "7"),
    (CSV, b"age,height,7,weight\n1,2,3,4\n", None, "weight"),
    (CSV, b"age,height,age\n1,2,3\n", None, "7"),
    (CSV, b"age,height,7,age\n1,2,3,4\n", None, "age"),
    (CSV, b"age,height,7\n1,2,3\n4,x,6\n", 1, "height"),
    (CSV, b"7,height,age\n1,2,3\n4,5,x\n", 1, "age"),
    (CSV, b"age,height,7\n1,2,3\n4,5\n", 1, None),
    (CSV, b"age,height,7\n1,2,3\n\n4,,6\n", 1, "height"),
    (CSV, b"1,2,3\n4,5,6\n7,8,1e39\n", 2, "7"),
    (CSV, b"1,2,3\n4,5,6,7\n", 1, None),
    (CSV, b"1,2,3],[4,5,6\n", 0, "7"),
    (CSV, b"1,2,true\n", 0, "7"),
    (CSV, b"age,height,7\n", None, None),
    (CSV, b'"age,height,7\n1,2,3\n', None, None),
    (ARROW, stream(pa.table({"age": [1.0], "height": [2.0]})), None, "7"),
    (ARROW, stream(pa.table({"age": [1.0], "height": [2.0], "8": [2.0]})), None, "7"),
    (ARROW, stream(pa.table({"age": [1.0], "height": ["a"], "7": [3.0]})), None, "height"),
    (ARROW, stream(pa.table({"age": [1.0, 2.0], "height": [2.0, None], "7": [3, 4]})), 1, "height"),
    (ARROW, stream(pa.table({"age": [1.0], "height": [True], "7": [3.0]})), None, "height"),
    (ARROW, stream(pa.table({"rows": [[1.0, 2, 3], [4, 5]]})), 1, None),
    (ARROW, stream(pa.table({"rows": [[1.0, 2, 3], [4, None, 6]]})), 1, "height"),
    (ARROW, stream(pa.table({"rows": [[1.0, 2, 3], None]})), 1, None),
    (ARROW, stream(pa.table({"rows": [["a", "b", "c"]]})), None, "rows"),
    (ARROW, stream(pa.table({"rows": [[[1.0], [2.0], [3.0]]]})), 0, None),
]


@pytest.mark.parametrize(("media", "body", "row", "column"), TABLES)
def test_what_is_wrong_with_a_table_has_a_place(media: str, body: bytes, row: Any, column: Any) -> None:
    error = refused(body, media, TABLE)
    assert (error.row, error.column) == (row, column), error


@pytest.mark.parametrize(
    "body",
    [
        b"7,age,height\n3,1,2\n6,4,5\n",
        b"7;age;height\n3;1;2\n6;4;5\n",
        b"\xef\xbb\xbfage\theight\t7\r\n1\t2\t3\r\n4\t5\t6\r\n",
        b'"age","height","7"\n"1","2","3"\n\n4.0e0,+5,06\n',
        b"1,2,3\n4,5,6",
        b"\n1,2,3\n4,5,6\n",
    ],
)
def test_columns_go_by_their_names_and_lines_without_names_by_their_order(body: bytes) -> None:
    question = codecs.decode(body, CSV, TABLE)
    np.testing.assert_array_equal(question.rows, [[1, 2, 3], [4, 5, 6]])


def test_arrow_columns_go_by_their_names() -> None:
    table = pa.table({"7": [3, 6], "height": [2.0, 5.0], "age": np.array([1, 4], "f2")})
    np.testing.assert_array_equal(codecs.decode(stream(table), ARROW, TABLE).rows, [[1, 2, 3], [4, 5, 6]])


def test_an_empty_cell_is_called_empty() -> None:
    table = pa.table({"age": [1.0, None], "height": [2.0, 5.0], "7": [3, 6]})
    for media, body in ((ARROW, stream(table)), (CSV, b"age,height,7\n1,2,3\n,5,6\n")):
        error = refused(body, media, TABLE)
        assert (error.message, error.row, error.column) == ("the cell is empty", 1, "age")


@pytest.mark.parametrize("media", [ARROW, CSV])
def test_a_tables_rows_are_answered_as_columns(media: str) -> None:
    reply = Reply("outputs", np.array([[1, 2, 3]], "f4"), {"model": {}}, columns=TABLE.columns)
    body = codecs.encode(reply, media)
    if media == CSV:
        assert body == b"age,height,7\n1,2,3\n"
    else:
        assert pa.ipc.open_stream(body).read_all().to_pydict() == {"age": [1], "height": [2], "7": [3]}


def test_csv_answers_have_a_line_a_row() -> None:
    beside: dict[str, Any] = {
        "percentiles": np.array([99.5], "f4"),
        "per_feature": np.array([[0.25, 0.5, 0.25]], "f4"),
    }
    beside |= {"anomaly": np.array([True])}
    reply = Reply("scores", np.array([0.1], "f4"), {**beside, "columns": ["age", "height", "7"]})
    header, line, _ = codecs.encode(reply, CSV).decode().split("\n")
    assert header == "score,percentile,share_age,share_height,share_7,anomaly"
    assert line == "0.1,99.5,0.25,0.5,0.25,true"
