"""One law for every format: what goes in comes out, and what is malformed is refused where it is wrong."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from service.serving import codecs
from service.serving.codecs import Expected, Reply, white_of
from service.serving.errors import BadTensor, NotAcceptable
from tests.service.formats.written import FORMATS, Written, npy, picture, stream

FLAT = Expected(64, (64,))
IMAGES = Expected(64, (8, 8), white=1.0)
TABLE = Expected(3, (3,), ("age", "height", "7"))
ARROW, CSV, RAW = codecs.ARROW, codecs.CSV, codecs.RAW
formats = pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
SHAPED = {name: FORMATS[name] for name in ("json", "base64", "npy", "arrow lists")}


def rows_of(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers of every size that float32 has."""
    chance = np.random.default_rng(seed)
    return (chance.standard_normal((count, 64)) * 10.0 ** chance.integers(-20, 20, (count, 64))).astype("f4")


def refused(body: bytes, media: str, expected: Expected = FLAT, shape: str | None = None) -> BadTensor:
    with pytest.raises(BadTensor) as caught:
        codecs.decode(body, media, expected, shape)
    return caught.value


@formats
@pytest.mark.parametrize("count", [1, 2, 33])
def test_what_goes_in_comes_out(written: Written, count: int) -> None:
    rows = rows_of(count)
    question = codecs.decode(written.write(rows), written.media, FLAT)
    assert question.rows.dtype == np.float32
    assert question.rows.flags.c_contiguous
    assert question.flat
    np.testing.assert_array_equal(question.rows, rows)


@formats
@pytest.mark.parametrize("shape", [(5, 30), (1, 1), (4,)])
def test_what_is_answered_is_read_by_others(written: Written, shape: tuple[int, ...]) -> None:
    values = rows_of(5).reshape(-1)[: int(np.prod(shape))].reshape(shape)
    name = "codes" if len(shape) > 1 else "scores"
    reply = Reply(name, values, {"model": {"name": "m", "version": 2, "space": "sp_1"}})
    encoding = "base64" if written is FORMATS["base64"] else None
    body = codecs.encode(reply, written.media, encoding)
    headers = {key.lower(): value for key, value in codecs.headers(reply, written.media).items()}
    np.testing.assert_array_equal(written.read(body, name, headers), values)


@pytest.mark.parametrize("written", SHAPED.values(), ids=SHAPED)
def test_rows_may_come_in_the_models_shape(written: Written) -> None:
    rows = rows_of(3).reshape(3, 8, 8)
    question = codecs.decode(written.write(rows), written.media, IMAGES)
    assert not question.flat
    np.testing.assert_array_equal(question.rows, rows.reshape(3, 64))


@pytest.mark.parametrize("written", SHAPED.values(), ids=SHAPED)
def test_a_shape_that_is_not_the_models_is_refused(written: Written) -> None:
    error = refused(written.write(rows_of(3).reshape(3, 4, 16)), written.media, IMAGES)
    assert error.row == 0 or error.field == "inputs"
    assert "8" in error.message


@formats
def test_rows_of_another_width_are_refused(written: Written) -> None:
    error = refused(written.write(rows_of(3)[:, :63].copy()), written.media)
    assert "64" in error.message or "256" in error.message


@formats
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(written: Written, value: float) -> None:
    rows = rows_of(4)
    rows[2, 5] = value
    if written is FORMATS["json"]:
        body = written.write(rows).replace(b"null", b"1e39")
    else:
        body = written.write(rows)
    error = refused(body, written.media)
    assert (error.row, error.column) == (2, 5)
    assert "finite" in error.message


@formats
def test_no_rows_are_refused(written: Written) -> None:
    refused(written.write(rows_of(1)[:0]), written.media)


@formats
def test_half_a_body_is_refused(written: Written) -> None:
    body = written.write(rows_of(3))
    for end in (0, 1, len(body) // 2 + 1, len(body) - 3):
        if written.media != CSV or end < 2:
            refused(body[:end], written.media)


@formats
def test_noise_is_refused(written: Written) -> None:
    chance = np.random.default_rng(1)
    for size in (1, 7, 64, 1001):
        refused(chance.bytes(size), written.media)


@formats
def test_a_damaged_body_is_refused_or_read_but_never_breaks(written: Written) -> None:
    whole = bytearray(written.write(rows_of(2)))
    chance = np.random.default_rng(2)
    for _ in range(150):
        body = bytearray(whole)
        for place in chance.integers(0, len(body), 3):
            body[place] = chance.integers(0, 256)
        try:
            question = codecs.decode(bytes(body), written.media, FLAT)
        except BadTensor:
            continue
        assert question.rows.shape[1] == 64
        assert np.isfinite(question.rows).all()


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


@pytest.mark.parametrize(
    "shape", ["[3, 64]", "[2, 63]", "[128]", "[2, -64]", "[2.0, 64]", "[true, 64]", '"2,64"', "[]"]
)
def test_a_shape_beside_base64_is_its_own(shape: str) -> None:
    body = FORMATS["base64"].write(rows_of(2)).replace(b"[2,64]", shape.encode())
    assert refused(body, codecs.JSON).field in ("shape", "inputs")
    assert refused(b'{"inputs": [[1]], "shape": [1, 1]}', codecs.JSON).field == "shape"


def test_arrow_batches_are_one_body() -> None:
    table = pa.table({"rows": [[1.0, 2, 3], [4, 5, 6]]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    np.testing.assert_array_equal(codecs.decode(sink.getvalue(), ARROW, TABLE).rows, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_arrow_buffers_that_inflate_are_refused(compression: str) -> None:
    table = pa.table({"rows": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(64_000, "f4")), 64)})
    assert "compressed" in refused(stream(table, compression=compression), ARROW).message


def test_arrow_answers_name_their_model_and_space() -> None:
    model = {"name": "m", "version": 2, "space": "sp_1"}
    beside = {"percentiles": np.array([1.0, 2.0], "f4"), "anomaly": np.array([True, False]), "model": model}
    body = codecs.encode(Reply("scores", np.array([3.0, 4.0], "f4"), beside), ARROW)
    table = pa.ipc.open_stream(body).read_all()
    assert table.schema.metadata == {b"name": b"m", b"version": b"2", b"space": b"sp_1"}
    assert table.to_pydict() == {"scores": [3, 4], "percentiles": [1, 2], "anomaly": [True, False]}


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


def test_raw_rows_take_the_shape_of_the_header() -> None:
    rows = rows_of(2)
    for shape in ("2,64", " 2, 64 ", "(2, 64)"):
        np.testing.assert_array_equal(codecs.decode(rows.tobytes(), RAW, FLAT, shape).rows, rows)
    assert not codecs.decode(rows.tobytes(), RAW, IMAGES, "2,8,8").flat


@pytest.mark.parametrize(
    "shape", ["2,63", "128", "2,64,1", "a", "", "-2,-64", "9999999999999,1", "1,2,3,4,5,6,7,8,9"]
)
def test_a_shape_that_is_not_the_bodys_is_refused(shape: str) -> None:
    refused(rows_of(2).tobytes(), RAW, FLAT, shape)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_is_a_row(kind: str, mode: str) -> None:
    row = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    media = f"image/{kind.lower()}"
    read = codecs.decode(picture(row, kind, mode), media, IMAGES)
    assert not read.flat
    np.testing.assert_allclose(read.rows, row.reshape(1, 64), atol=0.003 if kind == "PNG" else 0.05)


def test_a_picture_is_in_the_datasets_units() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    colour = Expected(48, (3, 4, 4), white=white_of((3, 4, 4), "uint8", 0, 255))
    np.testing.assert_array_equal(
        codecs.decode(buffer.getvalue(), "image/png", colour).rows, pixels.reshape(1, 48)
    )
    grey = Image.new("L", (4, 4), 7)
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    assert (codecs.decode(buffer.getvalue(), "image/png", colour).rows == 7).all()


def _saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG of 64 bytes whose header says 30,000 x 30,000 pixels."""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    import zlib

    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PICTURES: list[tuple[str, bytes, Expected, str]] = [
    ("another size", _saved(Image.new("L", (8, 9))), IMAGES, "8 x 9"),
    ("a bomb", _bomb(), IMAGES, ""),
    ("another kind", _saved(Image.new("L", (8, 8)), "JPEG"), IMAGES, "no PNG"),
    ("no picture", b"hello", IMAGES, "no PNG"),
    ("cut off", _saved(Image.effect_noise((8, 8), 9))[:-30], IMAGES, "damaged"),
    ("16 bits", _saved(Image.new("I;16", (8, 8))), IMAGES, "8-bit"),
    ("transparent", _saved(Image.new("LA", (8, 8), (1, 100))), IMAGES, "transparent"),
    ("rows of numbers", _saved(Image.new("L", (8, 8))), FLAT, "no images"),
    ("floats beyond 1", _saved(Image.new("L", (8, 8))), Expected(64, (8, 8)), "beyond 0 to 1"),
]


@pytest.mark.parametrize(("what", "body", "expected", "words"), PICTURES, ids=[case[0] for case in PICTURES])
def test_a_picture_that_is_no_row_is_refused(what: str, body: bytes, expected: Expected, words: str) -> None:
    assert words in refused(body, "image/png", expected).message


def test_one_row_of_an_image_is_answered_as_a_picture() -> None:
    values = np.linspace(-0.1, 1.1, 64, dtype=np.float32).reshape(1, 8, 8)
    made = np.asarray(Image.open(io.BytesIO(codecs.encode(Reply("outputs", values, white=1.0), "image/png"))))
    np.testing.assert_allclose(made / 255, np.clip(values[0], 0, 1), atol=0.003)
    for reply in (Reply("outputs", np.vstack([values, values]), white=1.0), Reply("codes", values[:, 0])):
        with pytest.raises(NotAcceptable):
            codecs.encode(reply, "image/png")


@pytest.mark.parametrize(
    ("shape", "dtype", "low", "high", "white"),
    [
        ((8, 8), "uint8", 0, 16, 255),
        ((3, 8, 8), "float32", 0, 1, 1),
        ((8, 8), "float32", -1, 1, None),
        ((8, 8), "float32", 0, 255, None),
        ((64,), "uint8", 0, 255, None),
    ],
)
def test_white_is_known_where_pixels_have_a_unit(
    shape: tuple[int, ...], dtype: str, low: float, high: float, white: float | None
) -> None:
    assert white_of(shape, dtype, low, high) == white


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "u1", "i8"])
def test_any_number_is_cast(dtype: str) -> None:
    rows = np.arange(128).reshape(2, 64).astype(dtype)
    np.testing.assert_array_equal(codecs.decode(npy(rows), codecs.NPY, FLAT).rows, rows.astype("f4"))
