"""Whatever computes and whatever rows are batched with, a row's answer is the plain forward pass's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from autoencoders import bundle
from autoencoders.export.publish import add_graphs
from autoencoders.scores import judge
from service.serving.runtimes import Onnx, Runtime, Torch, Wished, open_runtime
from store import Models
from tests.service.conftest import opened_store

ROWS = np.random.default_rng(2).random((300, 64), dtype=np.float32)


@pytest.fixture(scope="module")
def plain(trained_template: Path) -> Path:
    """The folder of a bundle without graphs."""
    with opened_store(trained_template) as store, store.session() as session:
        return store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)


@pytest.fixture(scope="module")
def with_graphs(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs") / "bundle"
    shutil.copytree(plain, folder)
    add_graphs(folder, ROWS)
    return folder


def _move(folder: Path, far: float) -> None:
    """Let the model's rows lie so far from where they lay."""
    manifest, held = bundle.verify(folder), load_file(folder / bundle.SCALING)
    save_file(held | {"shift": held["shift"] + np.float32(far)}, folder / bundle.SCALING)
    hashes = manifest.hashes | {bundle.SCALING: bundle.sha256_of(folder / bundle.SCALING)}
    bundle.write_manifest(folder, manifest.model_copy(update={"hashes": hashes}))


def _runtime(folder: Path, **wished: Any) -> Runtime:
    return open_runtime(folder, bundle.load(folder), Wished(**wished))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_answers_are_the_plain_forward_passs_whatever_they_are_batched_with(
    with_graphs: Path, name: Any, threads: int
) -> None:
    trained = bundle.load(with_graphs)
    runtime = _runtime(with_graphs, runtime=name, threads=threads)
    assert (runtime.name, runtime.precision) == (name, "float32")
    codes = np.concatenate([trained.encode(row[None]) for row in ROWS])
    spread = float(codes.std())
    for size in (1, 3, 64, 300):
        made = np.concatenate([runtime.encode(ROWS[at : at + size]) for at in range(0, 300, size)])
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, codes, rtol=1e-5, atol=1e-5 * spread)
    rows = trained.decode(codes).reshape(300, 64)
    np.testing.assert_allclose(runtime.decode(codes), rows, rtol=1e-5, atol=1e-5 * float(rows.std()))


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_errors_are_of_what_the_network_said_however_far_from_nought_the_rows_lie(
    plain: Path, tmp_path: Path, name: Any
) -> None:
    folder = tmp_path / "far"
    shutil.copytree(plain, folder)
    _move(folder, 1e6)
    rows = ROWS + np.float32(1e6)
    add_graphs(folder, rows)
    trained, runtime = bundle.load(folder), _runtime(folder, runtime=name)
    codes = trained.encode(rows)
    scaled = trained.affine.apply(rows)
    said, expected = runtime.outputs(codes), trained.score(rows, codes=codes)
    found = judge(np.square(said - scaled), trained.scores)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-5)


def test_graphs_of_before_their_scaled_output_still_score(with_graphs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "earlier"
    shutil.copytree(with_graphs, folder)
    graph = onnx.load(folder / bundle.DECODER)
    (scaled,) = (end for end in graph.graph.output if end.name == bundle.SCALED)
    graph.graph.output.remove(scaled)
    onnx.save(graph, folder / bundle.DECODER)
    trained = bundle.load(with_graphs)
    runtime = open_runtime(folder, trained, Wished(runtime="onnx"))
    assert isinstance(runtime, Onnx)
    codes = trained.encode(ROWS)
    scaled = trained.affine.apply(trained.decode(codes).reshape(300, 64))
    np.testing.assert_allclose(runtime.outputs(codes), scaled, rtol=1e-4, atol=1e-5)


def test_a_bundle_without_graphs_is_torchs(plain: Path) -> None:
    assert isinstance(_runtime(plain), Torch)
    assert isinstance(_runtime(plain, runtime="onnx"), Torch)


def test_a_graph_that_cannot_be_read_is_torchs(with_graphs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(with_graphs, folder)
    trained = bundle.load(folder)
    (folder / bundle.ENCODER).write_bytes(b"no graph")
    assert isinstance(open_runtime(folder, trained, Wished(runtime="onnx")), Torch)


def test_the_bundles_choice_is_followed_and_a_setting_forces_another(with_graphs: Path) -> None:
    trained = bundle.load(with_graphs)
    measured = trained.manifest.inference
    assert measured is not None
    chose = measured.model_copy(update={"runtime": "onnx"})
    trained.manifest = trained.manifest.model_copy(update={"inference": chose})
    assert isinstance(open_runtime(with_graphs, trained, Wished()), Onnx)
    assert isinstance(open_runtime(with_graphs, trained, Wished(runtime="torch")), Torch)


def test_bfloat16_is_torchs_and_near(with_graphs: Path) -> None:
    codes = bundle.load(with_graphs).encode(ROWS)
    runtime = _runtime(with_graphs, precision="bfloat16", runtime="onnx")
    assert (runtime.name, runtime.precision) == ("torch", "bfloat16")
    made = runtime.encode(ROWS)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, codes, atol=0.05 * float(codes.std()))
    assert not np.array_equal(made, codes)
