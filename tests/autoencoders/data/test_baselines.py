"""The mean's and PCA's held-out errors from moments alone, against the direct computation."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from autoencoders.data import (
    Affine,
    Dataset,
    Moments,
    fit_scaling,
    mean_error,
    pca_error,
    samples,
    scalings,
    write_rows,
    write_sample,
)
from autoencoders.data import moments as moments_module
from autoencoders.data.arrays import Floats
from autoencoders.data.baselines import pca_errors
from autoencoders.data.moments import Accumulator


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits") / "out"
    write_sample(samples.choose("digits"), folder)
    return Dataset.open(folder)


def scaled(dataset: Dataset, affine: Affine) -> tuple[Floats, Floats]:
    shift, factor = affine.shift.astype(np.float64), affine.factor.astype(np.float64)
    return (dataset.training - shift) * factor, (dataset.held_out - shift) * factor


@pytest.mark.parametrize("word", scalings.names())
def test_the_errors_are_those_of_a_direct_svd_at_every_code_size(word: str, digits: Dataset) -> None:
    affine = fit_scaling(scalings.choose(word), digits.moments.statistics, digits.facts)
    training, held_out = scaled(digits, affine)
    centred = held_out - training.mean(axis=0)
    directions = np.linalg.svd(training - training.mean(axis=0), full_matrices=False)[2]
    np.testing.assert_allclose(mean_error(digits.moments, affine), (centred**2).sum(axis=1).mean(), rtol=1e-6)
    for components in (0, 1, 8, 30, 60):
        kept = directions[:components]
        expected = ((centred - centred @ kept.T @ kept) ** 2).sum(axis=1).mean()
        assert pca_error(digits.moments, affine, components) == pytest.approx(expected, rel=1e-6)


def test_scikit_learn_agrees(digits: Dataset) -> None:
    affine = fit_scaling(scalings.choose("standard"), digits.moments.statistics, digits.facts)
    training, held_out = scaled(digits, affine)
    model = PCA(n_components=20, svd_solver="full").fit(training)
    back = model.inverse_transform(model.transform(held_out))
    expected = ((held_out - back) ** 2).sum(axis=1).mean()
    assert pca_error(digits.moments, affine, 20) == pytest.approx(expected, rel=1e-6)


def test_errors_fall_from_the_means_to_nothing(digits: Dataset) -> None:
    affine = fit_scaling(scalings.choose("none"), digits.moments.statistics, digits.facts)
    errors = pca_errors(digits.moments, affine)
    assert len(errors) == 65
    np.testing.assert_allclose(errors[0], mean_error(digits.moments, affine), rtol=1e-9)
    assert (np.diff(errors) <= 1e-12).all()
    assert errors[-1] == 0
    assert pca_error(digits.moments, affine, 1000) == 0


def test_one_decomposition_serves_every_uniform_scaling(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (50, 6)).astype(np.uint8)
    write_rows(rows, tmp_path / "out")
    dataset = Dataset.open(tmp_path / "out")
    errors = [
        pca_error(
            dataset.moments, fit_scaling(scalings.choose(word), dataset.moments.statistics, dataset.facts), 2
        )
        for word in ("none", "unit")
    ]
    assert len(dataset.moments.spectra) == 1
    assert errors[0] is not None
    assert errors[1] is not None
    np.testing.assert_allclose(errors[0] / 255**2, errors[1], rtol=1e-6)


def test_many_features_keep_the_mean_and_leave_pca_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "MAX_COVARIANCE_FEATURES", 4)
    rows = np.random.default_rng(0).normal(3, 2, (300, 5))
    moments = Moments.accumulate(rows[:200], rows[200:])
    affine = Affine(np.zeros(5, np.float32), np.full(5, 2, np.float32))
    assert moments.covariance is None
    assert pca_error(moments, affine, 2) is None
    expected = 4 * ((rows[200:] - rows[:200].mean(axis=0)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(mean_error(moments, affine), expected, rtol=1e-12)


@pytest.mark.parametrize("covariance", [True, False])
@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_moments_do_not_depend_on_how_the_rows_came(covariance: bool, pieces: int) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 4)) * [1, 2, 3, 4] + [0, 1e3, -1e6, 1e9]
    moments = Accumulator(4, covariance=covariance)
    for part in np.array_split(rows, pieces):
        moments.add(part)
    centred = rows - rows.mean(axis=0)
    expected = centred.T @ centred / 1000
    found = moments.scatter / 1000
    # 1e-16 of a value of 1e9 is 1e-7: what is left of the digits of a spread of 4.
    np.testing.assert_allclose(
        found if covariance else np.diag(found),
        expected * (1 if covariance else np.eye(4)),
        rtol=1e-6,
        atol=1e-6,
    )
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(moments.minimum, rows.min(axis=0))
    np.testing.assert_array_equal(moments.maximum, rows.max(axis=0))


def test_moments_survive_their_file(tmp_path: Path, digits: Dataset) -> None:
    digits.moments.save(tmp_path / "moments.npz")
    again = Moments.load(tmp_path / "moments.npz")
    assert (again.count, again.held_out_count) == (digits.moments.count, digits.moments.held_out_count)
    np.testing.assert_array_equal(again.covariance, digits.moments.covariance)
    np.testing.assert_array_equal(again.held_out_variance, digits.moments.held_out_variance)
