from __future__ import annotations

import base64
import io
import threading
from typing import Any

import httpx
import numpy as np
import pytest

from autoencoders import bundle
from store import Models
from tests.service.conftest import Door

NPY = {"Content-Type": "application/x-npy"}


def _rows(count: int, width: int = 64) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).random((count, width), dtype=np.float32)


def _npy(array: np.ndarray[Any, Any], *, fortran: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(array) if fortran else array)
    return buffer.getvalue()


def _read(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    array: np.ndarray[Any, Any] = np.load(io.BytesIO(answer.content))
    return array


def _trained(door: Door, name: str = "digits-code") -> bundle.TrainedModel:
    with door.store.session() as session:
        return bundle.load(door.store.artifacts.local_copy(Models(session).resolve(name).artifact))


@pytest.mark.parametrize("count", [1, 3, 10_000])
def test_codes_are_the_models_own(serving: Door, count: int) -> None:
    rows = _rows(count)
    codes = _read(
        serving.post(
            "/v1/models/digits-code/encode",
            content=_npy(rows),
            headers={**NPY, "Accept": NPY["Content-Type"]},
        )
    )
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, _trained(serving).encode(rows), rtol=1e-4, atol=1e-5)


def test_json_in_and_out(serving: Door) -> None:
    rows = _rows(2)
    answer = serving.post("/v1/models/digits-code/encode", json={"inputs": rows.tolist()})
    document = answer.json()
    assert set(document) == {"codes", "model"}
    assert document["model"]["name"] == "digits-code"
    assert document["model"]["version"] == 2
    assert document["model"]["space"].startswith("sp_")
    expected = _trained(serving).encode(rows)
    assert np.array_equal(np.array(document["codes"], np.float32), expected)
    timing = answer.headers["server-timing"]
    assert all(part in timing for part in ("queue;dur=", "parse;dur=", "compute;dur="))


@pytest.mark.parametrize("sent", ["json", "npy"])
@pytest.mark.parametrize("wanted", ["application/json", "application/x-npy"])
def test_each_way_has_its_own_format(serving: Door, sent: str, wanted: str) -> None:
    rows = _rows(2)
    options: dict[str, Any] = (
        {"json": {"inputs": rows.tolist()}}
        if sent == "json"
        else {"content": _npy(rows), "headers": dict(NPY)}
    )
    options["headers"] = {**options.get("headers", {}), "Accept": wanted}
    answer = serving.post("/v1/models/digits-code/reconstruct", **options)
    assert answer.headers["content-type"] == wanted
    made = _read(answer) if wanted.endswith("npy") else np.array(answer.json()["reconstructions"], np.float32)
    np.testing.assert_allclose(made, _trained(serving).reconstruct(rows).reshape(2, 64), rtol=1e-6)


def test_base64_carries_float32_both_ways(serving: Door) -> None:
    rows = _rows(3)
    text = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    document = serving.post(
        "/v1/models/digits-code/encode", json={"inputs": text, "encoding": "base64"}
    ).json()
    assert document["shape"] == [3, 4]
    codes = np.frombuffer(base64.b64decode(document["codes"]), "<f4").reshape(3, 4)
    assert np.array_equal(codes, _trained(serving).encode(rows))


def test_rows_may_have_the_models_shape(serving: Door) -> None:
    rows = _rows(2)
    flat = serving.post("/v1/models/digits-code/reconstruct", json={"inputs": rows.tolist()}).json()
    shaped = serving.post(
        "/v1/models/digits-code/reconstruct", json={"inputs": rows.reshape(2, 8, 8).tolist()}
    ).json()
    assert np.shape(flat["reconstructions"]) == (2, 64)
    assert np.shape(shaped["reconstructions"]) == (2, 8, 8)
    fortran = serving.post(
        "/v1/models/digits-code/encode", content=_npy(rows, fortran=True), headers=NPY
    ).json()
    assert (
        fortran["codes"]
        == serving.post("/v1/models/digits-code/encode", json={"inputs": rows.tolist()}).json()["codes"]
    )


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int32", ">f4"])
def test_any_number_is_cast(serving: Door, dtype: str) -> None:
    rows = np.ones((2, 64), dtype)
    assert serving.post("/v1/models/digits-code/encode", content=_npy(rows), headers=NPY).status_code == 200


def test_decode_undoes_encode(serving: Door) -> None:
    rows = _rows(2)
    codes = serving.post("/v1/models/digits-code/encode", json={"inputs": rows.tolist()}).json()["codes"]
    outputs = serving.post("/v1/models/digits-code/decode", json={"inputs": codes}).json()["outputs"]
    assert np.shape(outputs) == (2, 8, 8)
    np.testing.assert_allclose(np.array(outputs, np.float32), _trained(serving).reconstruct(rows), rtol=1e-6)


def test_scores_have_percentiles_and_shares(serving: Door) -> None:
    rows = np.vstack([_rows(2), np.full((1, 64), 9, np.float32)])
    document = serving.post(
        "/v1/models/digits-code/score", json={"inputs": rows.tolist(), "per_feature": True}
    ).json()
    expected = _trained(serving).score(rows)
    np.testing.assert_allclose(document["scores"], expected.error, rtol=1e-6)
    assert document["percentiles"][2] == 100
    np.testing.assert_allclose(np.sum(document["per_feature"], axis=1), 1, rtol=1e-5)
    assert (
        "per_feature"
        not in serving.post("/v1/models/digits-code/score", json={"inputs": rows.tolist()}).json()
    )
    scores = _read(
        serving.post(
            "/v1/models/digits-code/score",
            json={"inputs": rows.tolist()},
            headers={"Accept": "application/x-npy"},
        )
    )
    assert scores.shape == (3,)


def test_a_tables_rows_may_name_their_columns(serving: Door) -> None:
    columns = [f"x{number}" for number in range(8)]
    row = {name: float(number) for number, name in enumerate(columns)}
    mixed = dict(reversed(row.items()))
    by_name = serving.post("/v1/models/blobs-code/encode", json={"inputs": [row, mixed]}).json()["codes"]
    by_place = serving.post("/v1/models/blobs-code/encode", json={"inputs": [list(row.values())]}).json()[
        "codes"
    ]
    assert by_name[0] == by_name[1]
    # A matrix product of two rows may round otherwise than one of one row.
    np.testing.assert_allclose(by_name[0], by_place[0], rtol=1e-5)
    scored = serving.post("/v1/models/blobs-code/score", json={"inputs": [row], "per_feature": True}).json()
    assert scored["columns"] == columns


BAD: list[tuple[str, Any, list[Any]]] = [
    ("digits-code", {"inputs": [[0.0] * 64, [0.0] * 63]}, ["inputs", 1]),
    ("digits-code", {"inputs": [[0.0] * 63]}, ["inputs", 0]),
    ("digits-code", {"inputs": [[0.0] * 5 + [None] + [0.0] * 58]}, ["inputs", 0, 5]),
    ("digits-code", {"inputs": [[0.0] * 64, [0.0] * 3 + ["1.5"] + [0.0] * 60]}, ["inputs", 1, 3]),
    ("digits-code", {"inputs": [[0.0] * 7 + [True] + [0.0] * 56]}, ["inputs", 0, 7]),
    ("digits-code", {"inputs": [[0.0] * 9 + [1e300] + [0.0] * 54]}, ["inputs", 0, 9]),
    ("digits-code", {"inputs": []}, ["inputs"]),
    ("digits-code", {"inputs": [0.0] * 64}, ["inputs"]),
    ("digits-code", {"inputs": 3}, ["inputs"]),
    ("digits-code", {"inputs": "AAAA"}, ["inputs"]),
    ("digits-code", {"inputs": "A", "encoding": "base64"}, ["inputs"]),
    ("digits-code", {"inputs": "AAAA", "encoding": "base64"}, ["inputs"]),
    ("digits-code", {"inputs": [[0.0] * 64], "encoding": "hex"}, ["encoding"]),
    ("digits-code", {"inputs": [[0.0] * 64], "input": 1}, ["input"]),
    ("digits-code", {"inputs": [[0.0] * 64], "per_feature": 1}, ["per_feature"]),
    ("digits-code", {"inputs": [[0.0] * 64], "per_feature": True}, ["per_feature"]),
    ("digits-code", {"inputs": [{"a": 1}]}, ["inputs", 0]),
    ("digits-code", {}, ["body"]),
    ("digits-code", [], ["body"]),
    ("blobs-code", {"inputs": [{f"x{n}": 0 for n in range(7)}]}, ["inputs", 0, "x7"]),
    ("blobs-code", {"inputs": [{f"x{n}": 0 for n in range(9)}]}, ["inputs", 0, "x8"]),
    ("blobs-code", {"inputs": [{f"x{n}": None for n in range(8)}]}, ["inputs", 0, "x0"]),
    ("blobs-code", {"inputs": [[0, 0, 0, "a", 0, 0, 0, 0]]}, ["inputs", 0, "x3"]),
]


@pytest.mark.parametrize(("name", "body", "place"), BAD)
def test_bad_rows_are_refused_where_they_are_bad(
    serving: Door, name: str, body: Any, place: list[Any]
) -> None:
    answer = serving.post(f"/v1/models/{name}/encode", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"] == place


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b'{"inputs": [[NaN]]}', b'{"inputs": [[1e999]]}', b"[" * 5000]
)
def test_what_is_not_json_is_refused(serving: Door, content: bytes) -> None:
    answer = serving.post(
        "/v1/models/digits-code/encode", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body"]


def _header(text: str) -> bytes:
    body = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x09\x00",
        _npy(np.zeros((2, 64), "complex64")),
        _npy(np.zeros((2, 64), "U3")),
        _npy(np.zeros((2, 63), "f4")),
        _npy(np.zeros((0, 64), "f4")),
        _npy(np.zeros((2, 64), "f4"))[:-4],
        _npy(np.zeros((2, 64), "f4")) + b"more",
        _header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 64), }"),
        _header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 64), }"),
        _header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 64), }") + b"cos\nsystem\n",
        _header("__import__('os').abort()"),
    ],
)
def test_a_bad_npy_is_refused(serving: Door, content: bytes) -> None:
    answer = serving.post("/v1/models/digits-code/encode", content=content, headers=NPY)
    assert answer.status_code == 422, answer.text


def test_a_nan_in_an_npy_is_named(serving: Door) -> None:
    rows = _rows(5)
    rows[3, 7] = np.nan
    answer = serving.post("/v1/models/digits-code/encode", content=_npy(rows), headers=NPY)
    assert answer.json()["errors"][0]["loc"] == ["inputs", 3, 7]
    assert "row 3" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name", ["nobody", "digits-code@9", "digits-code@champion", "digits-code@", "a b", "..%2f"]
)
def test_an_unknown_model_is_not_found(serving: Door, name: str) -> None:
    assert serving.post(f"/v1/models/{name}/encode", json={"inputs": [[0]]}).status_code == 404


def test_versions_and_aliases_answer_for_themselves(served: Door) -> None:
    body = {"inputs": _rows(1).tolist()}
    served.put("/v1/models/digits-code/aliases/champion", json={"version": 1})

    def version(name: str) -> int:
        return int(served.post(f"/v1/models/{name}/encode", json=body).json()["model"]["version"])

    assert version("digits-code") == 2
    assert version("digits-code@1") == version("digits-code@champion") == 1
    served.put("/v1/models/digits-code/aliases/champion", json={"version": 2})
    assert version("digits-code@champion") == 2
    served.post("/v1/models/digits-code/promote", json={"version": 1})
    assert version("digits-code") == 1


def test_a_removed_model_answers_no_more(served: Door) -> None:
    body = {"inputs": _rows(1).tolist()}
    assert served.post("/v1/models/digits-code/encode", json=body).status_code == 200
    assert served.delete("/v1/models/digits-code").status_code == 204
    assert served.post("/v1/models/digits-code/encode", json=body).status_code == 404


def test_damaged_files_are_not_served(served: Door) -> None:
    with served.store.session() as session:
        folder = served.store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    answer = served.post("/v1/models/digits-code/encode", json={"inputs": _rows(1).tolist()})
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("model-damaged")
    assert str(folder) not in answer.text


def test_many_at_once_load_a_model_once(served: Door) -> None:
    body = {"inputs": _rows(1).tolist()}
    statuses = []

    def ask() -> None:
        statuses.append(served.post("/v1/models/digits-code/encode", json=body).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert len(served.app.state.gateway.engine.cache) == 1


def test_a_hit_does_not_ask_the_store(served: Door) -> None:
    body = {"inputs": _rows(1).tolist()}
    engine = served.app.state.gateway.engine
    engine._remember_seconds = 3600
    assert served.post("/v1/models/digits-code/encode", json=body).status_code == 200
    served.store.engine.dispose()
    (served.store.settings.home / "hourglass.db").rename(served.store.settings.home / "away.db")
    assert served.post("/v1/models/digits-code/encode", json=body).status_code == 200
