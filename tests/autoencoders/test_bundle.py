"""A bundle: whole or refused, the same bytes for the same weights, and in the dataset's own units."""

from __future__ import annotations

import gc
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from autoencoders import bundle
from autoencoders.bundle import TrainedModel
from autoencoders.data import Dataset, write_rows
from autoencoders.errors import BundleDamaged, DataRefused
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from tests.autoencoders import tiny

SPEC = {
    "architecture": {"name": "dense", "widths": [8], "code": 3},
    "init": "he_normal",
    "training": {"epochs": 2, "batch_size": 32},
}
SHAPE = (3, 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("images") / "dataset"
    write_rows((tiny.rows(200) * 255).astype(np.uint8).reshape(-1, *SHAPE), folder)
    return Dataset.open(folder)


@pytest.fixture(scope="module")
def trained(images: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = Experiment(Spec.model_validate(SPEC), images)
    list(experiment.run())
    folder = tmp_path_factory.mktemp("model") / "model"
    experiment.save(folder)
    return folder


@pytest.fixture
def model(trained: Path) -> TrainedModel:
    return bundle.load(trained)


def test_images_answer_in_0_to_255_and_in_their_own_shape(model: TrainedModel, images: Dataset) -> None:
    rows = images.held_out.reshape(-1, *SHAPE)
    found = model.reconstruct(rows)
    assert found.shape == rows.shape
    assert found.dtype == np.float32
    assert 1 < found.max() <= 255
    np.testing.assert_array_equal(found, model.reconstruct(images.held_out))


def test_to_reconstruct_is_to_encode_and_decode(model: TrainedModel, images: Dataset) -> None:
    codes = model.encode(images.held_out)
    assert codes.shape == (len(images.held_out), 3)
    np.testing.assert_array_equal(model.decode(codes), model.reconstruct(images.held_out))


def test_a_score_is_the_squared_error_in_scaled_units(model: TrainedModel, images: Dataset) -> None:
    scaled = images.held_out.astype(np.float32) / 255
    expected = np.square(model.reconstruct(images.held_out).reshape(scaled.shape) / 255 - scaled).sum(1)
    found = model.score(images.held_out)
    np.testing.assert_allclose(found.error, expected, rtol=1e-4, atol=1e-6)
    assert float(found.error.mean()) == pytest.approx(model.manifest.metrics.error, rel=1e-5)
    assert found.share_per_feature is None


def test_known_codes_are_not_encoded_again_for_a_score(model: TrainedModel, images: Dataset) -> None:
    rows, encoded = images.held_out, list[int]()
    codes, expected = model.encode(rows), model.score(rows)
    with model.model.encoder.register_forward_hook(lambda *_: encoded.append(1)):
        found = model.score(rows, codes=codes)
        assert not encoded
        model.score(rows)
        assert encoded
    np.testing.assert_array_equal(found.error, expected.error)
    np.testing.assert_array_equal(found.percentile, expected.percentile)


def test_percentiles_are_ranks_among_the_held_out_rows(model: TrainedModel, images: Dataset) -> None:
    found = model.score(images.held_out)
    ranks = np.argsort(np.argsort(found.error, kind="stable")) + 1
    # Batches of another size may round an error differently, and so swap neighbours.
    np.testing.assert_allclose(found.percentile, 100 * ranks / len(ranks), atol=100 / len(ranks) + 1e-3)
    noise = np.random.default_rng(0).integers(0, 256, (5, 12)).astype(np.uint8)
    assert (model.score(noise).percentile > 90).all()


def test_the_features_shares_of_an_error_add_up(model: TrainedModel, images: Dataset) -> None:
    found = model.score(images.held_out, per_feature=True)
    assert found.share_per_feature is not None
    np.testing.assert_allclose(found.share_per_feature.sum(1), 1.0, rtol=1e-5)
    assert (found.share_per_feature >= 0).all()


def test_chunks_and_the_empty_batch_are_no_special_case(model: TrainedModel, images: Dataset) -> None:
    whole = model.encode(images.held_out)
    model._chunk_rows = 3
    np.testing.assert_allclose(model.encode(images.held_out), whole, rtol=1e-5, atol=1e-6)
    assert model.encode(images.held_out[:0]).shape == (0, 3)


@pytest.mark.parametrize("shape", [(2, 11), (2, 3, 5), (12,), (2, 13)])
def test_rows_of_another_shape_are_refused(model: TrainedModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataRefused, match="3, 4"):
        model.encode(np.zeros(shape, np.float32))


def test_codes_of_another_size_are_refused(model: TrainedModel) -> None:
    with pytest.raises(DataRefused, match="3"):
        model.decode(np.zeros((2, 4), np.float32))


def test_the_same_training_gives_the_same_bytes(trained: Path, images: Dataset, tmp_path: Path) -> None:
    again = Experiment(Spec.model_validate(SPEC), images)
    list(again.run())
    again.save(tmp_path / "model")
    assert sorted(path.name for path in trained.iterdir()) == sorted(
        path.name for path in (tmp_path / "model").iterdir()
    )
    for path in trained.iterdir():
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes(), path.name


def test_reading_a_model_again_and_again_leaves_nothing_behind(trained: Path) -> None:
    reads = 60

    def growth() -> int:
        before = sys.getallocatedblocks()
        for _ in range(reads):
            bundle.load(trained)
        gc.collect()
        return sys.getallocatedblocks() - before

    # The first ones fill what torch keeps of its own, and other threads of this process allocate too: what
    # every read leaves behind is there each time.
    assert min(growth() for _ in range(5)) < 3 * reads


def test_a_verified_folder_says_what_it_holds(trained: Path) -> None:
    manifest = bundle.verify(trained)
    assert manifest.weights_sha256 == manifest.hashes["weights.safetensors"]
    assert manifest.parameters == 12 * 8 + 8 + 8 * 3 + 3 + 3 * 8 + 8 + 8 * 12 + 12
    assert sum(manifest.metrics.error_per_feature) == pytest.approx(manifest.metrics.error)
    assert Spec.model_validate(manifest.spec).model_dump(mode="json") == manifest.spec


@pytest.mark.parametrize("name", ["weights.safetensors", "scaling.safetensors", "scores.npy", "model.json"])
@pytest.mark.parametrize("damage", ["one byte", "missing"])
def test_damage_is_refused(trained: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    if damage == "missing":
        (folder / name).unlink()
    else:
        content = bytearray((folder / name).read_bytes())
        content[0] ^= 0x40
        (folder / name).write_bytes(content)
    with pytest.raises(BundleDamaged):
        bundle.load(folder)


def test_many_scores_are_kept_as_quantiles() -> None:
    many = np.random.default_rng(0).random(50_000).astype(np.float32)
    kept = bundle._quantiles(many)
    assert len(kept) == bundle.MAX_SCORES
    assert kept[0] == many.min()
    assert kept[-1] == many.max()
    assert float(np.median(kept)) == pytest.approx(float(np.median(many)), abs=1e-3)


def test_batch_norm_s_statistics_come_along(images: Dataset, tmp_path: Path) -> None:
    spec = {**SPEC, "architecture": {"name": "dense", "widths": [8], "code": 3, "norm": "batch"}}
    experiment = Experiment(Spec.model_validate(spec), images)
    list(experiment.run())
    experiment.save(tmp_path / "model")
    loaded = bundle.load(tmp_path / "model")
    assert not loaded.model.training
    rows = torch.from_numpy(experiment.affine.apply(images.held_out))
    np.testing.assert_array_equal(
        loaded.encode(images.held_out), experiment.model.eval().encode(rows).detach().numpy()
    )
