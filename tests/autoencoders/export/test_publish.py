"""Publishing: graphs and golden rows in the bundle, what was measured, and what happens where it fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoencoders import bundle, golden
from autoencoders.data import Dataset, write_rows
from autoencoders.errors import BundleDamaged
from autoencoders.experiment import Experiment
from autoencoders.export.operators import NotExportable
from autoencoders.export.publish import add_graphs
from autoencoders.export.sessions import Runs, apart, check, opened
from autoencoders.spec import Spec
from tests.autoencoders import tiny

SPEC: dict[str, Any] = {
    "architecture": {"name": "dense", "widths": [8], "code": 3},
    "init": "he_normal",
    "training": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("rows") / "dataset"
    write_rows(tiny.rows(200), folder)
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def saved(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = Experiment(Spec.model_validate(SPEC), rows, diagnose=False)
    list(experiment.run())
    folder = tmp_path_factory.mktemp("saved") / "model"
    experiment.save(folder)
    return folder


@pytest.fixture(scope="module")
def published(saved: Path, rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "model"
    shutil.copytree(saved, folder)
    add_graphs(folder, rows.held_out)
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "model")
    return tmp_path / "model"


def test_graphs_are_hashed_measured_and_change_nothing_else(saved: Path, published: Path) -> None:
    before, after = bundle.verify(saved), bundle.verify(published)
    assert set(after.hashes) - set(before.hashes) == {"encoder.onnx", "decoder.onnx"}
    assert (after.weights_sha256, after.space) == (before.weights_sha256, before.space)
    assert after.inference is not None
    assert after.inference.runtime in ("onnx", "torch")
    assert {name: set(by_size) for name, by_size in after.inference.milliseconds.items()} == {
        name: {"1", "64", "1024"} for name in ("torch", "onnx")
    }
    assert all(0 <= share <= 1 for share in after.inference.checked.values())


def _runs(folder: Path) -> Runs:
    return opened(*((folder / name).read_bytes() for name in ("encoder.onnx", "decoder.onnx")))


def test_the_graphs_in_the_bundle_answer_like_the_model(published: Path, rows: Dataset) -> None:
    trained = bundle.load(published)
    encode, decode, outputs = _runs(published)
    assert outputs is not None
    codes = trained.encode(rows.held_out)
    assert apart(encode(rows.held_out), codes, float(codes.std())) <= 1
    back = trained.decode(codes)
    assert apart(decode(codes), back, float(back.std())) <= 1
    scaled = trained.outputs(codes)
    assert apart(outputs(codes), scaled, float(scaled.std())) <= 1


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "golden.safetensors"])
@pytest.mark.parametrize("damage", ["one byte", "missing"])
def test_damage_is_refused(folder: Path, name: str, damage: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 0x40
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(BundleDamaged):
        bundle.load(folder)


def test_a_bundle_of_the_first_format_still_loads(folder: Path, rows: Dataset) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    kept = ("weights.safetensors", "scaling.safetensors", "scores.npy")
    manifest["hashes"] = {name: manifest["hashes"][name] for name in kept}
    manifest["format"] = 1
    space = manifest.pop("space")
    del manifest["inference"]
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    (folder / "model.json").write_text(json.dumps(manifest))
    old = bundle.load(folder)
    assert old.encode(rows.held_out).shape == (len(rows.held_out), 3)
    assert bundle.space_of(old.manifest.model_dump(mode="json")) == space


def test_golden_rows_are_held_out_rows_that_the_model_answers_again(published: Path, rows: Dataset) -> None:
    held = golden.read(published)
    assert len(held["rows"]) == 8
    assert all((rows.held_out == row).all(1).any() for row in held["rows"])
    golden.check(bundle.load(published), published)


def test_another_model_under_the_same_hashes_is_seen_by_its_golden_rows(folder: Path) -> None:
    held = golden.read(folder)
    golden.write(folder, {**held, "codes": held["codes"] + np.float32(0.1)})
    manifest = json.loads((folder / "model.json").read_text())
    manifest["hashes"]["golden.safetensors"] = bundle.sha256_of(folder / "golden.safetensors")
    (folder / "model.json").write_text(json.dumps(manifest))
    trained = bundle.load(folder)
    with pytest.raises(BundleDamaged, match="codes of its golden rows"):
        golden.check(trained, folder)


@pytest.mark.parametrize(
    ("name", "output"), [("encode", "code"), ("decode", "reconstruction"), ("outputs", "scaled")]
)
def test_graphs_of_another_model_are_refused(folder: Path, rows: Dataset, name: str, output: str) -> None:
    trained = bundle.load(folder)
    runs = _runs(folder)
    run = getattr(runs, name)
    other = runs._replace(**{name: lambda part: run(part) * np.float32(1.00004)})
    with pytest.raises(NotExportable, match=rf"{output} by .* times what is allowed"):
        check(trained, other, rows.held_out)


def test_graphs_that_do_not_say_scaled_rows_are_held_to_what_they_say(folder: Path, rows: Dataset) -> None:
    runs = _runs(folder)
    checked = check(bundle.load(folder), runs._replace(outputs=None), rows.held_out)
    assert set(checked) == {"code", "reconstruction"}


def test_a_model_that_cannot_be_exported_keeps_its_bundle_as_it_was(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NotExportable):
        # Nothing lies within a share of not a number.
        add_graphs(folder, np.full((4, 12), np.nan, np.float32))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
