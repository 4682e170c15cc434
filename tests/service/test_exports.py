"""Exports: what each zip holds, by the rules of whoever opens it."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import tritonclient
from google.protobuf import text_format
from safetensors.numpy import load

from autoencoders import bundle, golden
from autoencoders.export.publish import add_graphs
from store import ModelRow, Models
from tests.service.conftest import Door, opened, opened_store, settings_for


@pytest.fixture(scope="module")
def published(trained_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A gateway with graphs of `digits-code@2` and `blobs-code`, and none of `digits-code@1`."""
    home = tmp_path_factory.mktemp("published") / "home"
    shutil.copytree(trained_template, home)
    with opened_store(home) as store, store.transaction() as session:
        for reference in ("digits-code@2", "blobs-code"):
            row = Models(session).resolve(reference)
            folder = store.artifacts.local_copy(row.artifact)
            manifest = add_graphs(folder, golden.read(folder)["rows"])
            row.manifest = manifest.model_dump(mode="json")
    with opened(settings_for(home)) as door:
        yield door


def files_of(door: Door, model: str, format_: str) -> dict[str, bytes]:
    answer = door.get(f"/v1/models/{model}/export?format={format_}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def row_of(door: Door, reference: str) -> ModelRow:
    with door.store.session() as session:
        return Models(session).resolve(reference)


def test_onnx_graphs_answer_like_the_service(published: Door) -> None:
    files = files_of(published, "digits-code", "onnx")
    assert set(files) == {"encoder.onnx", "decoder.onnx", "autoencoder.onnx", "golden.safetensors"}
    rows = load(files["golden.safetensors"])["rows"].astype(np.float32)
    whole = onnxruntime.InferenceSession(files["autoencoder.onnx"])
    codes, back = whole.run(["code", "reconstruction"], {"input": rows})
    found = {"codes": codes, "reconstructions": back}
    for action, name in (("encode", "codes"), ("reconstruct", "reconstructions")):
        answer = published.post(f"/v1/models/digits-code/{action}", json={"inputs": rows.tolist()})
        expected = np.asarray(answer.json()[name], np.float32).reshape(found[name].shape)
        np.testing.assert_allclose(found[name], expected, 1e-5, 1e-5 * float(expected.std()))


def model_config() -> ModuleType:
    """Triton's own message of a configuration, without the gRPC that its package would import."""
    path = Path(tritonclient.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("model", "shape"), [("digits-code", [8, 8]), ("blobs-code", [8])])
def test_a_triton_repository_keeps_triton_s_rules(published: Door, model: str, shape: list[int]) -> None:
    files = files_of(published, model, "triton")
    version = row_of(published, model).version
    features = int(np.prod(shape))
    ends = {
        model: ([("input", shape)], [("code", [4]), ("reconstruction", shape)]),
        f"{model}_encoder": ([("input", shape)], [("code", [4])]),
        f"{model}_decoder": ([("code", [4])], [("reconstruction", shape)]),
    }
    assert set(files) == {
        f"{name}/{path}" for name in ends for path in ("config.pbtxt", f"{version}/model.onnx")
    }
    messages = model_config()
    for name, (inputs, outputs) in ends.items():
        config = text_format.Parse(files[f"{name}/config.pbtxt"].decode(), messages.ModelConfig())
        assert config.name == name, "the folder's name"
        assert config.platform == "onnxruntime_onnx"
        assert config.max_batch_size > 0
        assert config.HasField("dynamic_batching")
        session = onnxruntime.InferenceSession(files[f"{name}/{version}/model.onnx"])
        for told, wanted, real in (
            (config.input, inputs, session.get_inputs()),
            (config.output, outputs, session.get_outputs()),
        ):
            assert [(each.name, list(each.dims)) for each in told] == wanted
            assert {each.data_type for each in told} == {messages.TYPE_FP32}
            in_graph = {end.name: end.shape for end in real}
            for each in told:
                rows, *widths = in_graph[each.name]
                # The batch is the graph's free first axis; the others are as told, or as reshaped.
                width = features if list(each.dims) == shape else 4
                assert widths == [width]
                assert isinstance(rows, str)
                assert list(each.reshape.shape) == ([] if list(each.dims) == [width] else [width])


def test_safetensors_come_with_a_card(published: Door) -> None:
    files = files_of(published, "digits-code", "safetensors")
    assert set(files) == {"README.md", "config.json", "model.safetensors", "scaling.safetensors"}
    row = row_of(published, "digits-code")
    card = files["README.md"].decode()
    for fact in (str(row.weights_sha256), row.manifest["dataset_sha256"], row.manifest["space"]):
        assert fact in card
    assert re.search(rf"this model \| {row.error:.6g} ", card)
    assert re.search(rf"PCA at this code size \| {row.manifest['baselines']['pca']:.6g} ", card)
    assert "| seed | 1 |" in card
    assert json.loads(files["config.json"]) == row.manifest["spec"]
    assert (
        sum(tensor.size for tensor in load(files["model.safetensors"]).values()) == row.manifest["parameters"]
    )


def test_a_version_without_graphs_says_so(published: Door) -> None:
    for format_ in ("onnx", "triton"):
        answer = published.get(f"/v1/models/digits-code@1/export?format={format_}")
        assert answer.status_code == 409
        assert "digits-code@1 has no ONNX graphs" in answer.json()["detail"]
    assert files_of(published, "digits-code@1", "safetensors")


@pytest.mark.parametrize(
    ("path", "status"), [("nobody/export?format=onnx", 404), ("digits-code/export?format=pickle", 422)]
)
def test_what_is_not_there_is_refused(published: Door, path: str, status: int) -> None:
    assert published.get(f"/v1/models/{path}").status_code == status


def test_the_choice_of_a_runtime_is_seen_in_the_model(published: Door) -> None:
    told = published.get("/v1/models/digits-code").json()["runtime"]
    assert told["torch"]
    assert told["inference"]["runtime"] in ("onnx", "torch")
    assert set(told["inference"]["milliseconds"]["onnx"]) == {"1", "64", "1024"}
    assert published.get("/v1/models/digits-code@1").json()["runtime"]["inference"] is None


def test_a_damaged_file_is_not_exported(published: Door) -> None:
    folder = published.store.artifacts.local_copy(row_of(published, "blobs-code").artifact)
    graph = folder / bundle.ENCODER
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + b"x")
    try:
        answer = published.get("/v1/models/blobs-code/export?format=onnx")
    finally:
        graph.write_bytes(content)
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("model-damaged")
