"""Laws of the samples: seeded, finite, in the range they claim; and the calibration of the curves."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from autoencoders.data import Dataset, SampleRows, samples, write_sample

RANGES = {"digits": (0, 1), "curves": (0, 1), "sines": (-3, 3), "blobs": (-25, 25)}


def drawn(word: str, **parameters: int) -> SampleRows:
    size = {} if word == "digits" else {"rows": 300, **parameters}
    sample = samples.call(samples.choose(word, **size))
    assert isinstance(sample, SampleRows)
    return sample


@pytest.mark.parametrize("word", samples.names())
def test_every_sample_is_finite_and_in_its_range(word: str) -> None:
    sample = drawn(word)
    low, high = RANGES[word]
    assert sample.rows.dtype == np.float32
    assert len(sample.rows) == (1797 if word == "digits" else 300)
    assert np.isfinite(sample.rows).all()
    assert low <= sample.rows.min() < sample.rows.max() <= high
    assert sample.columns is None or len(sample.columns) == sample.rows.shape[1]
    assert len(np.unique(sample.rows.reshape(len(sample.rows), -1), axis=0)) == len(sample.rows)


@pytest.mark.parametrize("word", samples.names())
def test_every_sample_is_a_pure_function_of_its_seed(word: str) -> None:
    one, again = drawn(word).rows, drawn(word).rows
    assert one.tobytes() == again.tobytes()
    if word != "digits":
        assert one.tobytes() != drawn(word, seed=1).rows.tobytes()


@pytest.mark.parametrize("word", samples.names())
def test_every_sample_becomes_a_dataset_of_its_name(word: str, tmp_path: Path) -> None:
    choice = samples.choose(word) if word == "digits" else samples.choose(word, rows=300)
    manifest = write_sample(choice, tmp_path / "out")
    assert manifest.name == word
    dataset = Dataset.open(tmp_path / "out")
    expected = drawn(word).rows
    assert dataset.facts.shape == expected.shape[1:]
    rows = np.concatenate(list(dataset.chunks("all_in_upload_order")))
    np.testing.assert_array_equal(rows, expected.reshape(len(expected), -1))


@pytest.mark.parametrize("word", samples.names())
def test_every_sample_survives_json(word: str) -> None:
    choice = samples.choose(word)
    assert samples[word].schema.model_validate_json(choice.model_dump_json()) == choice


def test_the_digits_are_the_ones_of_scikit_learn() -> None:
    np.testing.assert_array_equal(drawn("digits").rows * 16, load_digits().images)


def test_the_curves_are_as_hard_as_the_published_ones() -> None:
    rows = samples.call(samples.choose("curves", rows=6000, seed=3)).rows.reshape(6000, -1).astype(np.float64)
    training, held_out = rows[:4500], rows[4500:] - rows[:4500].mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(training.T))
    assert values[0] <= values[-1]
    captured = held_out @ vectors[:, -18:]
    mean_image = (held_out**2).sum(axis=1).mean()
    np.testing.assert_allclose(mean_image, 16.0, rtol=0.03)
    np.testing.assert_allclose(mean_image - (captured**2).sum(axis=1).mean(), 5.85, rtol=0.03)


def test_the_pen_leaves_its_full_ink_only_on_the_path() -> None:
    images = drawn("curves").rows
    assert (images.max(axis=(1, 2)) > 0.65).all()
    assert (images.max(axis=(1, 2)) <= np.float32(0.748)).all()
    assert (images < 0.01).mean() > 0.5


def test_the_shipped_digits_have_their_licence_beside_them() -> None:
    shipped = Path(samples["digits"].function.__code__.co_filename).parent / "shipped"
    assert "CC BY 4.0" in (shipped / "digits.md").read_text()
    content: npt.NDArray[np.uint8] = np.load(shipped / "digits.npz")["levels"]
    assert hashlib.sha256(content.tobytes()).hexdigest() == DIGITS


DIGITS = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
