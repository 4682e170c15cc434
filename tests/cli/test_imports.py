"""`hourglass import`: a bundle from elsewhere becomes the next version, or nothing at all."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from autoencoders import bundle, golden
from autoencoders.data import Dataset, samples, write_sample
from autoencoders.errors import BundleDamaged
from autoencoders.experiment import Experiment
from autoencoders.export.publish import add_graphs
from autoencoders.spec import Spec
from cli.errors import Refused
from cli.main import app
from store import Models, Store, StoreSettings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_sample(samples.choose("blobs"), folder / "dataset")
    dataset = Dataset.open(folder / "dataset")
    experiment = Experiment(
        Spec.model_validate({"code": 3, "init": "he_normal", "training": {"epochs": 1}}),
        dataset,
        diagnose=False,
    )
    list(experiment.run())
    experiment.save(folder / "blobs-code-7")
    add_graphs(folder / "blobs-code-7", dataset.held_out)
    return folder / "blobs-code-7"


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOURGLASS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOURGLASS_FREE_DISK_FLOOR_BYTES", "0")
    shutil.copytree(made, tmp_path / made.name)
    return tmp_path / made.name


def run(*words: str) -> str:
    outcome = CliRunner().invoke(app, ["import", *words], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def zipped(folder: Path, at: Path, *, inside: str = "") -> Path:
    with zipfile.ZipFile(at, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"{inside}{path.name}")
    return at


def rehash(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest["hashes"][name] = bundle.sha256_of(folder / name)
    (folder / "model.json").write_text(json.dumps(manifest))


def versions(name: str) -> list[int]:
    store = Store.open(StoreSettings())
    try:
        with store.session() as session:
            rows = Models(session).versions(name)
            for row in rows:
                held = bundle.verify(store.artifacts.local_copy(row.artifact))
                assert held.weights_sha256 == row.weights_sha256
            return [row.version for row in rows]
    finally:
        store.close()


def test_zips_and_folders_become_the_next_versions(folder: Path, tmp_path: Path) -> None:
    assert run(str(folder)).startswith("blobs-code@1: code of 3")
    assert "blobs-code@2" in run(str(zipped(folder, tmp_path / "blobs-code-9.zip")))
    nested = zipped(folder, tmp_path / "download.zip", inside="blobs/")
    assert "blobs-code@3" in run(str(nested), "--name", "blobs-code")
    assert versions("blobs-code") == [3, 2, 1]


def test_a_bundle_without_golden_rows_is_taken_and_said_to_be(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    kept = ("weights.safetensors", "scaling.safetensors", "scores.npy")
    manifest |= {"format": 1, "hashes": {name: manifest["hashes"][name] for name in kept}}
    (folder / "model.json").write_text(json.dumps(manifest))
    assert "no golden rows" in run(str(folder))


def refused(*words: str) -> str:
    with pytest.raises((Refused, BundleDamaged)) as problem:
        CliRunner().invoke(app, ["import", *words], catch_exceptions=False)
    return str(problem.value)


def test_damaged_files_are_refused(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"x")
    assert "weights.safetensors" in refused(str(folder))


def test_other_answers_are_refused_though_the_hashes_agree(folder: Path) -> None:
    held = golden.read(folder)
    golden.write(folder, {**held, "codes": held["codes"] + np.float32(0.1)})
    rehash(folder, golden.GOLDEN)
    assert "golden rows" in refused(str(folder))


def test_graphs_that_compute_something_else_are_refused(folder: Path) -> None:
    import onnx

    graph = onnx.load(folder / "encoder.onnx")
    for array in graph.graph.initializer:
        array.raw_data = (1.01 * np.frombuffer(array.raw_data, np.float32)).astype(np.float32).tobytes()
    (folder / "encoder.onnx").write_bytes(graph.SerializeToString())
    rehash(folder, "encoder.onnx")
    assert "ONNX Runtime answers otherwise" in refused(str(folder))


def test_what_is_no_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "there is no file" in refused(str(tmp_path / "nothing.zip"))
    (tmp_path / "empty").mkdir()
    assert "is no bundle" in refused(str(tmp_path / "empty"))
    other = tmp_path / "text.zip"
    other.write_text("no zip")
    assert "is no bundle" in refused(str(other))


def test_a_zip_s_other_paths_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    at = zipped(folder, tmp_path / "blobs-code-1.zip")
    with zipfile.ZipFile(at, "a") as archive:
        archive.writestr("../outside.txt", "x")
        archive.writestr("inside.txt", "x")
    run(str(at))
    assert not list(tmp_path.rglob("outside.txt"))
    assert not list((tmp_path / "home").rglob("inside.txt"))
