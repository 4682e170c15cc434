"""One law for every format: what goes in comes out, and what is malformed is refused where it is wrong."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest

from service.serving import codecs
from service.serving.codecs import ARROW, CSV, RAW, Reply
from service.serving.errors import BadTensor
from tests.service.formats.reading import FLAT, IMAGES, TABLE, refused, rows_of
from tests.service.formats.written import FORMATS, Written, npy, stream

formats = pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
SHAPED = {name: FORMATS[name] for name in ("json", "base64", "npy", "arrow lists")}


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


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "u1", "i8"])
def test_any_number_is_cast(dtype: str) -> None:
    rows = np.arange(128).reshape(2, 64).astype(dtype)
    np.testing.assert_array_equal(codecs.decode(npy(rows), codecs.NPY, FLAT).rows, rows.astype("f4"))
