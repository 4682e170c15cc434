from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from autoencoders import bundle
from tests.service.conftest import Door


def test_models_are_listed_by_name(serving: Door) -> None:
    items = serving.get("/v1/models").json()["items"]
    assert [item["name"] for item in items] == ["blobs-code", "digits-code"]
    assert serving.get("/v1/models?label=team:vision").json()["items"] == items
    assert serving.get("/v1/models?label=team:sound").json()["items"] == []
    page = serving.get("/v1/models?limit=1").json()
    assert serving.get(f"/v1/models?limit=1&after={page['next']}").json()["items"] == items[1:]


def test_a_model_tells_what_it_is(serving: Door) -> None:
    model = serving.get("/v1/models/digits-code").json()
    assert (model["name"], model["version"], model["current"]) == ("digits-code", 2, True)
    assert model["shape"] == [8, 8]
    assert model["code_size"] == 4
    assert model["spec"]["architecture"]["widths"] == [16]
    assert model["error"] > 0
    assert model["baselines"]["mean"] > model["baselines"]["pca"] > 0
    assert len(model["weights_sha256"]) == len(model["dataset_sha256"]) == 64
    assert model["runtime"]["torch"]
    assert serving.get("/v1/models/blobs-code").json()["columns"] == [f"x{number}" for number in range(8)]


def test_spaces_differ_with_the_weights(serving: Door) -> None:
    first, second = (serving.get(f"/v1/models/digits-code@{version}").json() for version in (1, 2))
    assert first["weights_sha256"] != second["weights_sha256"]
    assert first["space"] != second["space"]
    answer = serving.post("/v1/models/digits-code@1/encode", json={"inputs": [[0.0] * 64]})
    assert answer.json()["model"]["space"] == first["space"] == answer.headers["x-space"]


def test_versions_are_listed_newest_first(serving: Door) -> None:
    items = serving.get("/v1/models/digits-code/versions").json()["items"]
    assert [(item["version"], item["current"]) for item in items] == [(2, True), (1, False)]
    assert serving.get("/v1/models/nobody/versions").status_code == 404


def test_a_model_has_an_etag(served: Door) -> None:
    tag = served.get("/v1/models/digits-code").headers["etag"]
    assert served.get("/v1/models/digits-code", headers={"If-None-Match": tag}).status_code == 304
    served.put("/v1/models/digits-code/aliases/champion", json={"version": 2})
    assert served.get("/v1/models/digits-code", headers={"If-None-Match": tag}).status_code == 200


def test_aliases_are_set_listed_and_removed(served: Door) -> None:
    path = "/v1/models/digits-code/aliases"
    assert served.put(f"{path}/champion", json={"version": 1}).json()["version"] == 1
    assert served.get(path).json() == {"aliases": {"champion": 1}}
    assert served.get("/v1/models/digits-code@champion").json()["version"] == 1
    assert served.put(f"{path}/champion", json={"version": 9}).status_code == 404
    assert served.put(f"{path}/7", json={"version": 1}).status_code == 422
    assert served.put(f"{path}/champion", json={"version": 0}).status_code == 422
    assert served.delete(f"{path}/champion").status_code == 204
    assert served.delete(f"{path}/champion").status_code == 404
    assert served.get("/v1/models/digits-code@champion").status_code == 404


def test_the_bare_name_is_moved_by_promote(served: Door) -> None:
    answer = served.post("/v1/models/digits-code/promote", json={"version": 1})
    assert answer.status_code == 200
    assert answer.json()["current"] is True
    assert served.get("/v1/models/digits-code").json()["version"] == 1
    assert served.post("/v1/models/digits-code/promote", json={"version": 9}).status_code == 404


def test_a_version_is_removed_alone(served: Door) -> None:
    assert served.delete("/v1/models/digits-code@champion").status_code == 422
    assert served.delete("/v1/models/digits-code@2").status_code == 204
    assert served.get("/v1/models/digits-code").json()["version"] == 1
    assert served.get("/v1/models/digits-code@2").status_code == 404
    assert served.delete("/v1/models/digits-code").status_code == 204
    assert served.get("/v1/models/digits-code").status_code == 404
    assert served.delete("/v1/models/digits-code").status_code == 404


@pytest.mark.parametrize("name", ["digits-code", "blobs-code@1"])
def test_a_bundle_is_the_models_folder(serving: Door, tmp_path: Path, name: str) -> None:
    answer = serving.get(f"/v1/models/{name}/bundle")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "bundle")
    manifest = bundle.verify(tmp_path / "bundle")
    told = serving.get(f"/v1/models/{name}").json()
    assert manifest.weights_sha256 == told["weights_sha256"]
    weights = (tmp_path / "bundle" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == told["weights_sha256"]
    assert serving.get(f"/v1/models/{name}/bundle").content == answer.content
