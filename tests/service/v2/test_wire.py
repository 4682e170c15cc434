"""What goes over the wire, byte by byte: for clients of other languages, for curl, and for what is wrong."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autoencoders import bundle
from store import Models
from tests.service.conftest import Door
from tests.service.v2.conftest import some_rows
from tests.service.v2.wire import INFER, LENGTH, binary, code_of, refused, request, tensor


@pytest.fixture(scope="module")
def plain(serving: Door) -> bundle.TrainedModel:
    with serving.store.session() as session:
        return bundle.load(
            serving.store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)
        )


def test_an_answer_says_its_length_and_type(serving: Door) -> None:
    answer = serving.post(INFER, json=request(some_rows()))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert LENGTH not in answer.headers
    assert "etag" not in answer.headers
    both = {**request(some_rows()), "parameters": {"binary_data_output": True}}
    answer = serving.post(INFER, json=both)
    assert answer.headers["content-type"] == "application/octet-stream"
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert head["outputs"] == [
        {"name": "code", "datatype": "FP32", "shape": [3, 4], "parameters": {"binary_data_size": 48}}
    ]
    assert len(answer.content) == int(answer.headers[LENGTH]) + 48


def test_each_output_may_differ_from_what_the_request_says_of_all(serving: Door) -> None:
    body = {
        "inputs": [tensor(some_rows())],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "code", "parameters": {"binary_data": False}}, {"name": "score"}],
    }
    answer = serving.post(INFER, json=body)
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert ["data" in output for output in head["outputs"]] == [True, False]
    assert len(answer.content) - int(answer.headers[LENGTH]) == 3 * 4


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "image/png", None])
def test_the_content_type_says_nothing(
    serving: Door, plain: bundle.TrainedModel, content_type: str | None
) -> None:
    rows = some_rows()
    headers = {} if content_type is None else {"Content-Type": content_type}
    bodies: list[dict[str, Any]] = [
        {"content": json.dumps(request(rows)).encode(), "headers": {}},
        binary(rows),
    ]
    for sent in bodies:
        found = serving.post(INFER, content=sent["content"], headers={**headers, **sent["headers"]})
        np.testing.assert_allclose(code_of(found), plain.encode(rows), rtol=1e-4, atol=1e-5)


def test_a_body_may_be_the_input_itself(serving: Door, plain: bundle.TrainedModel) -> None:
    rows = some_rows(5)
    answer = serving.post(INFER, content=rows.tobytes(), headers={LENGTH: "0"})
    assert answer.status_code == 200
    length = int(answer.headers[LENGTH])
    outputs = json.loads(answer.content[:length])["outputs"]
    assert [output["name"] for output in outputs] == ["code", "reconstruction", "score"]
    codes = np.frombuffer(answer.content[length:], np.float32, 20).reshape(5, 4)
    np.testing.assert_allclose(codes, plain.encode(rows), rtol=1e-4, atol=1e-5)
    assert "no multiple of a row's 256" in refused(
        serving.post(INFER, content=rows.tobytes()[:-1], headers={LENGTH: "0"})
    )
    assert "no multiple" in refused(serving.post(INFER, content=b"", headers={LENGTH: "0"}))


def test_a_body_may_come_in_chunks(serving: Door, plain: bundle.TrainedModel) -> None:
    rows = some_rows()
    sent = binary(rows)

    async def chunks() -> Any:
        for start in range(0, len(sent["content"]), 100):
            yield sent["content"][start : start + 100]

    found = serving.post(INFER, content=chunks(), headers=sent["headers"])
    np.testing.assert_allclose(code_of(found), plain.encode(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [[3, 8, 8], [3, 64]])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("extra", [{}, {"parameters": {"note": "with a [bracket"}}, {"bracket": "["}])
def test_numbers_stand_flat_or_nested(
    serving: Door, plain: bundle.TrainedModel, shape: list[int], nested: bool, extra: dict[str, Any]
) -> None:
    rows = some_rows()
    data = rows.reshape(shape).tolist() if nested else rows.reshape(-1).tolist()
    body = {**request(rows, shape=shape, data=data), **extra}
    np.testing.assert_allclose(
        code_of(serving.post(INFER, json=body)), plain.encode(rows), rtol=1e-4, atol=1e-5
    )


def test_pictures_are_rows(serving: Door, plain: bundle.TrainedModel) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (2, 8, 8), np.uint8)
    pictures = []
    for row in rows:
        buffer = io.BytesIO()
        Image.fromarray(row).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    wanted = plain.encode(rows.astype(np.float32) / 255)
    tail = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
    for shape in ([2], [2, 1]):
        found = serving.post(INFER, **binary(rows, tail, datatype="BYTES", shape=shape))
        np.testing.assert_allclose(code_of(found), wanted, rtol=1e-4, atol=1e-5)
        flat = [base64.b64encode(picture).decode() for picture in pictures]
        data = flat if len(shape) == 1 else [[text] for text in flat]
        found = serving.post(INFER, json=request(rows, datatype="BYTES", shape=shape, data=data))
        np.testing.assert_allclose(code_of(found), wanted, rtol=1e-4, atol=1e-5)
    for wrong, says in (
        (tail[:-1], "row 1: the BYTES end within an element"),
        (tail + b"x", "1 bytes are left over"),
        (
            struct.pack("<I", 3) + b"GIF" + tail[: len(tail) - 4 - len(pictures[1])],
            "row 0: is neither a PNG nor a JPEG",
        ),
    ):
        assert says in refused(serving.post(INFER, **binary(rows, wrong, datatype="BYTES", shape=[2])))
    answer = serving.post(INFER, json=request(rows, datatype="BYTES", shape=[1], data=["GIF!"]))
    assert "row 0" in refused(answer)
    table = serving.post("/v2/models/blobs-code/infer", **binary(rows, tail, datatype="BYTES", shape=[2]))
    assert "no images" in refused(table)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "x"}, "no input 'x'"),
        ({"datatype": "FP8"}, "not 'FP8'"),
        ({"datatype": None}, "not None"),
        ({"shape": None}, "shape must be a list"),
        ({"shape": [3, -1]}, "whole numbers"),
        ({"shape": [True, 64]}, "whole numbers"),
        ({"shape": []}, "shape must be a list"),
        ({"shape": [3, 8, 7]}, "has the shape [3, 8, 7]; the model's rows are [n, 64] or [n, 8, 8]"),
        ({"shape": [2, 64]}, "data has 192 numbers; its shape says 128"),
        ({"data": None}, "either data or the parameter binary_data_size"),
        ({"data": {}}, "data must be a list"),
        ({"parameters": {"binary_data_size": 4}}, "not both"),
        ({"parameters": []}, "parameters must be an object"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
        ({"datatype": "FP16"}, "binary data alone"),
        ({"datatype": "BF16"}, "binary data alone"),
        ({"datatype": "UINT8", "data": [0.5] * 192}, "row 0, column 0: is no UINT8"),
        ({"datatype": "INT8", "data": [0] * 70 + [128] * 122}, "row 1, column 6: is no INT8"),
        ({"data": [0.0] * 130 + ["a"] + [0.0] * 61}, "row 2, column 2: must be a number"),
        ({"data": [0.0] * 130 + [None] + [0.0] * 61}, "row 2, column 2: must be a number, not null"),
        ({"data": [True] + [0.0] * 191}, "row 0, column 0: must be a number, not true"),
        ({"data": [1e300] + [0.0] * 191}, "row 0, column 0: is not a finite float32"),
        ({"data": [[0.0] * 64, [0.0] * 63, [0.0] * 65], "shape": [3, 64]}, "row 1: has 63 numbers"),
        ({"data": [[0.0] * 64] * 2, "shape": [3, 64]}, "data has 2 rows; its shape says 3"),
        ({"data": [[0.0] * 64] * 3}, "data is nested as [3, 64]; its shape says [3, 8, 8]"),
        ({"data": [[], *([[0.0] * 64] * 2), [0.0] * 64]}, "data has 4 rows"),
        ({"data": [[0.0] * 96, [0.0] * 96, []]}, "row 0"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_said(serving: Door, change: dict[str, Any], says: str) -> None:
    assert says in refused(serving.post(INFER, json=request(some_rows(), **change)))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", '"inputs" with one tensor'),
        (b'{"inputs": []}', "one tensor, not 0"),
        (b'{"inputs": [3]}', "one tensor"),
        (b'{"inputs": [{}]}', "no input None"),
        (b'{"inputs": NaN}', "not JSON"),
    ],
)
def test_what_is_no_request_is_said(serving: Door, body: bytes, says: str) -> None:
    assert says in refused(serving.post(INFER, content=body))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": 7}, "id must be a string"),
        ({"outputs": "code"}, "outputs must be a list"),
        ({"outputs": [{"name": "code"}, {"name": "code"}]}, "asked for twice"),
        ({"outputs": [{}]}, "no output None"),
        (
            {"outputs": [{"name": "code", "parameters": {"binary_data": 1}}]},
            "binary_data must be true or false",
        ),
        ({"outputs": [{"name": "code", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output must be true or false"),
        ({"parameters": {"timeout": -1}}, "timeout must be a number of microseconds"),
        ({"parameters": {"timeout": "soon"}}, "timeout must be a number of microseconds"),
        ({"parameters": 3}, "parameters must be an object"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(serving: Door, change: dict[str, Any], says: str) -> None:
    assert says in refused(serving.post(INFER, json={**request(some_rows()), **change}))


def test_an_empty_choice_is_every_output(serving: Door) -> None:
    answer = serving.post(INFER, json={**request(some_rows()), "outputs": [], "id": ""})
    assert [output["name"] for output in answer.json()["outputs"]] == ["code", "reconstruction", "score"]
    assert "id" not in answer.json()


def test_binary_must_be_as_long_as_it_says(serving: Door) -> None:
    rows = some_rows()
    sent = binary(rows)
    short = {**sent, "content": sent["content"][:-1]}
    assert "binary_data_size is 768, but 767 bytes follow" in refused(serving.post(INFER, **short))
    long = {**sent, "content": sent["content"] + b"x"}
    assert "binary_data_size is 768, but 769 bytes follow" in refused(serving.post(INFER, **long))
    assert "are 768 bytes, not 764" in refused(serving.post(INFER, **binary(rows, rows.tobytes()[4:])))
    head = json.dumps(request(rows)).encode()
    left = serving.post(INFER, content=head + b"1234", headers={LENGTH: str(len(head))})
    assert "4 bytes follow the JSON, but no input has a binary_data_size" in refused(left)
    for wrong in (-1, len(sent["content"]) + 1, "x", "1.5"):
        answer = serving.post(INFER, content=sent["content"], headers={LENGTH: str(wrong)})
        assert LENGTH in refused(answer)
    for size in (-768, True, "768", 1.5):
        answer = serving.post(INFER, **binary(rows, parameters={"binary_data_size": size}))
        assert "binary_data_size must be a number of bytes" in refused(answer)


def test_bodies_may_be_compressed(serving: Door, plain: bundle.TrainedModel) -> None:
    rows = some_rows()
    bodies: list[dict[str, Any]] = [
        binary(rows),
        {"content": json.dumps(request(rows)).encode(), "headers": {}},
    ]
    for encoding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        for sent in bodies:
            found = serving.post(
                INFER,
                content=pack(sent["content"]),
                headers={**sent["headers"], "Content-Encoding": encoding},
            )
            np.testing.assert_allclose(code_of(found), plain.encode(rows), rtol=1e-4, atol=1e-5)
        cut = serving.post(INFER, content=pack(b"{}")[:-6], headers={"Content-Encoding": encoding})
        assert encoding in refused(cut)
    answer = serving.post(INFER, content=b"{}", headers={"Content-Encoding": "br"})
    assert "'br'" in refused(answer, 501)
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_small_body_that_inflates_beyond_the_limit_is_refused(serving: Door) -> None:
    bomb = gzip.compress(bytes(80 * 1024 * 1024), 9)
    answer = serving.post(INFER, content=bomb, headers={"Content-Encoding": "gzip", LENGTH: "0"})
    assert "the limit is 67,108,864" in refused(answer, 413)


def test_only_infer_answers_for_those_who_name_one_encoding_are_compressed(serving: Door) -> None:
    body = {"inputs": [tensor(some_rows(100))]}
    for accepted in ("gzip", "deflate", "GZIP"):
        answer = serving.post(INFER, json=body, headers={"Accept-Encoding": accepted})
        assert answer.headers["content-encoding"] == accepted.lower()
        assert len(answer.json()["outputs"]) == 3
    for accepted in ("gzip, deflate, br", "br", "zstd", "*", "identity"):
        answer = serving.post(INFER, json=body, headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in answer.headers
    for method, path in (
        ("GET", "/v2"),
        ("GET", "/v2/models/digits-code"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/models/nobody/infer"),
    ):
        answer = serving.request(method, path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers
        assert "etag" not in answer.headers
