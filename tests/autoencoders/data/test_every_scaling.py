"""Laws of the scalings: each comes back, keeps its promise, and survives constant features."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autoencoders.data import Affine, Facts, FeatureStatistics, fit_scaling, scaled_range, scalings
from autoencoders.data.moments import Moments
from autoencoders.data.staging import Dtype

Array = npt.NDArray[Any]


def prepared(dtype: Dtype) -> tuple[Array, FeatureStatistics, Facts]:
    draws = np.random.default_rng(2)
    if dtype == "uint8":
        rows = draws.integers(0, 256, (400, 6)).astype(np.uint8)
        rows[:, 3] = 7
    else:
        rows = (draws.normal(size=(400, 6)) * [1e-6, 1, 1e3, 0, 1e20, 1e-30]).astype(np.float32)
        rows[:, 3] = 0.1
    facts = Facts(
        shape=(6,),
        dtype=dtype,
        rows=400,
        training_rows=399,
        held_out_rows=1,
        minimum=float(rows.min()),
        maximum=float(rows.max()),
    )
    return rows, Moments.accumulate(rows[:399], rows[399:]).statistics, facts


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("word", scalings.names())
def test_every_scaling_is_inverted(word: str, dtype: Dtype) -> None:
    rows, statistics, facts = prepared(dtype)
    affine = fit_scaling(scalings.choose(word), statistics, facts)
    scaled = affine.apply(rows)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    spread = np.ptp(rows.astype(np.float64), axis=0) + np.abs(rows.astype(np.float64)).max(axis=0)
    if word == "unit":  # one factor for all: small features may fall under float32's least
        spread = np.full(6, spread.max())
    error = np.abs(affine.invert(scaled).astype(np.float64) - rows).max(axis=0)
    assert (error <= 1e-6 * spread).all()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("word", scalings.names())
def test_every_scaling_is_float32_per_feature_and_stays_in_the_range_it_says(word: str, dtype: Dtype) -> None:
    rows, statistics, facts = prepared(dtype)
    affine = fit_scaling(scalings.choose(word), statistics, facts)
    assert affine.shift.shape == affine.factor.shape == (6,)
    assert affine.shift.dtype == affine.factor.dtype == np.float32
    assert (affine.factor > 0).all()
    low, high = scaled_range(scalings.choose(word), facts, statistics)
    scaled = affine.apply(rows[:399])
    tolerance = 1e-6 * max(abs(low), abs(high))
    assert low - tolerance <= scaled.min()
    assert scaled.max() <= high + tolerance


@pytest.mark.parametrize("word", scalings.names())
def test_every_scaling_does_what_it_promises(word: str) -> None:
    rows, statistics, facts = prepared("float32")
    rows, varied = rows[:399], [0, 1, 2, 4, 5]
    scaled = fit_scaling(scalings.choose(word), statistics, facts).apply(rows).astype(np.float64)
    if word == "none":
        np.testing.assert_array_equal(scaled, rows)
    elif word == "unit":
        np.testing.assert_allclose(np.abs(scaled).max(), 1, rtol=1e-6)
    elif word == "min_max":
        np.testing.assert_allclose(scaled[:, varied].min(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(scaled[:, varied].max(axis=0), 1, rtol=1e-6)
        assert (scaled[:, 3] == 0).all()
    else:
        np.testing.assert_allclose(scaled[:, varied].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(scaled[:, varied].std(axis=0), 1, rtol=1e-5)
        assert np.abs(scaled[:, 3]).max() <= 1e-7


@pytest.mark.parametrize("word", scalings.names())
def test_constant_features_get_a_factor_of_one_and_come_back(word: str) -> None:
    rows = np.full((10, 2), 16_777_217.0, np.float32)
    facts = Facts(
        shape=(2,),
        dtype="float32",
        rows=10,
        training_rows=9,
        held_out_rows=1,
        minimum=1.6777216e7,
        maximum=1.6777216e7,
    )
    affine = fit_scaling(scalings.choose(word), Moments.accumulate(rows[:9], rows[9:]).statistics, facts)
    np.testing.assert_allclose(affine.invert(affine.apply(rows)), rows, rtol=1e-7)
    if word in ("min_max", "standard"):
        assert affine.factor.tolist() == [1, 1]


def test_bytes_become_the_unit_interval() -> None:
    _, statistics, facts = prepared("uint8")
    affine = fit_scaling(scalings.choose("unit"), statistics, facts)
    np.testing.assert_allclose(affine.apply(np.array([[0] * 6, [255] * 6], np.uint8)), [[0] * 6, [1] * 6])


def test_a_scaling_changes_no_row_in_place() -> None:
    rows = np.ones((3, 2), np.float32)
    affine = Affine(np.ones(2, np.float32), np.full(2, 3, np.float32))
    affine.apply(rows)
    affine.invert(rows)
    assert (rows == 1).all()
