"""Formats over HTTP: every one that is sent with every one that is answered, and what headers say."""

from __future__ import annotations

import csv
import gzip
import io
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from service.serving.codecs import ARROW, CSV, FORMATS, JSON, NPY, RAW
from tests.service.conftest import Door
from tests.service.formats.written import FORMATS as WRITTEN
from tests.service.formats.written import Written, picture, stream

MODEL = "/v1/models/digits-code"
ROWS = (np.random.default_rng(0).integers(0, 256, (3, 64)) / 255).astype("f4")
ANSWERS = {"encode": "codes", "reconstruct": "reconstructions", "score": "scores"}


def ask(door: Door, path: str, body: bytes, sent: str, wanted: str, **headers: str) -> httpx.Response:
    answer = door.post(path, content=body, headers={"Content-Type": sent, "Accept": wanted, **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == wanted
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer


@pytest.fixture(scope="module")
def expected(serving: Door) -> dict[str, np.ndarray[Any, Any]]:
    """What the model says in JSON, by action."""
    return {
        action: np.array(serving.post(f"{MODEL}/{action}", json={"inputs": ROWS.tolist()}).json()[name], "f4")
        for action, name in ANSWERS.items()
    }


@pytest.mark.parametrize("sent", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("wanted", WRITTEN.values(), ids=WRITTEN)
def test_every_body_gets_every_answer(
    serving: Door, expected: dict[str, np.ndarray[Any, Any]], sent: Written, wanted: Written
) -> None:
    for action, name in ANSWERS.items():
        answer = ask(serving, f"{MODEL}/{action}", sent.write(ROWS), sent.media, wanted.media)
        values = wanted.read(answer.content, name, dict(answer.headers))
        np.testing.assert_allclose(values, expected[action], rtol=1e-5, atol=1e-6)
        assert answer.headers["x-model"] == "digits-code@2"
        assert answer.headers["x-space"].startswith("sp_")
        assert "parse;dur=" in answer.headers["server-timing"]


@pytest.mark.parametrize("wanted", WRITTEN.values(), ids=WRITTEN)
def test_what_was_encoded_is_decoded(serving: Door, wanted: Written) -> None:
    codes = ask(serving, f"{MODEL}/encode", WRITTEN["raw"].write(ROWS), RAW, NPY).content
    answer = ask(serving, f"{MODEL}/decode", codes, NPY, wanted.media)
    outputs = wanted.read(answer.content, "outputs", dict(answer.headers))
    through = ask(serving, f"{MODEL}/reconstruct", WRITTEN["raw"].write(ROWS), RAW, NPY).content
    np.testing.assert_allclose(outputs.reshape(3, 64), np.load(io.BytesIO(through)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("media", [ARROW, CSV])
def test_an_answer_of_codes_is_a_body_for_decode(serving: Door, media: str) -> None:
    codes = ask(serving, f"{MODEL}/encode", WRITTEN["raw"].write(ROWS), RAW, media).content
    back = ask(serving, f"{MODEL}/decode", codes, media, RAW)
    assert back.headers["x-shape"] == "3,8,8"


def test_a_picture_goes_through(serving: Door) -> None:
    body = picture(ROWS[:1])
    codes = ask(serving, f"{MODEL}/encode", body, "image/png", JSON).json()["codes"]
    expected = serving.post(f"{MODEL}/encode", json={"inputs": ROWS[:1].tolist()}).json()["codes"]
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)
    for media in ("image/png", "image/jpeg"):
        made = ask(serving, f"{MODEL}/reconstruct", body, "image/png", media).content
        assert Image.open(io.BytesIO(made)).size == (8, 8)


def test_a_tables_columns_go_in_and_out_by_name(serving: Door) -> None:
    names = [f"x{place}" for place in range(8)]
    rows = np.random.default_rng(1).random((2, 8)).astype("f4")
    table = pa.table({name: rows[:, place] for place, name in reversed(list(enumerate(names)))})
    answer = ask(serving, "/v1/models/blobs-code/reconstruct", stream(table), ARROW, CSV)
    lines = list(csv.reader(io.StringIO(answer.text)))
    assert lines[0] == names
    back = ask(serving, "/v1/models/blobs-code/reconstruct", rows.tobytes(), RAW, ARROW)
    made = pa.ipc.open_stream(back.content).read_all()
    assert made.column_names == names
    assert made.schema.metadata[b"space"] == back.headers["x-space"].encode()
    np.testing.assert_allclose(np.array(lines[1:], "f4"), np.column_stack(list(made.columns)), rtol=1e-5)
    scored = ask(serving, "/v1/models/blobs-code/score?per_feature=true", rows.tobytes(), RAW, CSV)
    assert scored.text.split("\n")[0].split(",")[2:] == [f"share_{name}" for name in names]


@pytest.mark.parametrize("wanted", [NPY, RAW])
def test_what_a_format_cannot_hold_is_refused(serving: Door, wanted: str) -> None:
    answer = serving.post(
        f"{MODEL}/score",
        json={"inputs": ROWS.tolist(), "per_feature": True},
        headers={"Accept": wanted},
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["per_feature"]
    assert (
        serving.post(
            f"{MODEL}/encode", json={"inputs": ROWS.tolist()}, headers={"Accept": "image/png"}
        ).status_code
        == 406
    )


def test_the_shape_stands_in_a_header(serving: Door) -> None:
    shaped = ask(serving, f"{MODEL}/reconstruct", ROWS.tobytes(), RAW, RAW, **{"X-Shape": "3,8,8"})
    assert shaped.headers["x-shape"] == "3,8,8"
    assert ask(serving, f"{MODEL}/reconstruct", ROWS.tobytes(), RAW, RAW).headers["x-shape"] == "3,64"
    wrong = serving.post(
        f"{MODEL}/encode", content=ROWS.tobytes(), headers={"Content-Type": RAW, "X-Shape": "3,63"}
    )
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["loc"] == ["X-Shape"]


@pytest.mark.parametrize("media", FORMATS)
def test_a_malformed_body_of_any_kind_is_a_problem_with_a_place(serving: Door, media: str) -> None:
    answer = serving.post(f"{MODEL}/encode", content=b"\x00malformed", headers={"Content-Type": media})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["loc"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-pickle"}, 415),
        ({"Content-Type": "text/csv; charset=utf-8"}, 200),
        ({"Content-Type": "TEXT/CSV"}, 200),
        ({"Content-Type": "text/csv", "Accept": "application/xml"}, 406),
        ({"Content-Type": "text/csv", "Accept": "application/xml, */*;q=0.1"}, 200),
        ({"Content-Type": "text/csv", "Content-Encoding": "br"}, 415),
        ({"Content-Type": "text/csv", "Content-Encoding": "gzip"}, 422),
    ],
)
def test_headers_choose_the_format(serving: Door, headers: dict[str, str], status: int) -> None:
    answer = serving.post(f"{MODEL}/encode", content=WRITTEN["csv"].write(ROWS), headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/csv;q=0.5, application/x-npy", NPY),
        ("application/json;q=0, */*", None),
        ("text/*", CSV),
        ("application/*", JSON),
        ("nonsense, text/csv", CSV),
    ],
)
def test_the_favourite_is_answered(serving: Door, accept: str, media: str | None) -> None:
    answer = serving.post(f"{MODEL}/encode", json={"inputs": ROWS.tolist()}, headers={"Accept": accept})
    assert answer.status_code == (406 if media is None else 200)
    assert media is None or answer.headers["content-type"] == media


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_compressed_body_is_read_and_a_large_answer_packed(serving: Door, encoding: str) -> None:
    rows = np.random.default_rng(2).random((200, 64), dtype=np.float32)
    body = WRITTEN["json"].write(rows)
    packed = {"gzip": gzip.compress, "deflate": __import__("zlib").compress}.get(
        encoding, lambda data: pa.Codec("zstd").compress(data, asbytes=True)
    )(body)
    headers = {"Content-Type": JSON, "Content-Encoding": encoding, "Accept-Encoding": "zstd;q=0, gzip"}
    answer = serving.post(f"{MODEL}/reconstruct", content=packed, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert np.shape(answer.json()["reconstructions"]) == (200, 64)
    plain = serving.post(
        f"{MODEL}/reconstruct", content=body, headers={"Content-Type": JSON, "Accept-Encoding": "identity"}
    )
    assert "content-encoding" not in plain.headers
    assert plain.json() == answer.json()


def test_a_bomb_is_too_large(serving: Door) -> None:
    bomb = gzip.compress(bytes(80 * 1024 * 1024), 9)
    answer = serving.post(
        f"{MODEL}/encode", content=bomb, headers={"Content-Type": RAW, "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 413
    assert "67,108,864" in answer.json()["detail"]
