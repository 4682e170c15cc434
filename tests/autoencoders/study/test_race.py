"""How long a race is, and over which rows."""

from __future__ import annotations

import pytest

from autoencoders.spec import Spec
from autoencoders.study.race import Length, length_of


def spec(epochs: int, batch_size: int) -> Spec:
    return Spec.model_validate({"code": 2, "training": {"epochs": epochs, "batch_size": batch_size}})


@pytest.mark.parametrize(
    ("job", "rows", "features", "length"),
    [
        # Few rows are passed over again and again, in whole epochs.
        ((50, 256), 1617, 64, Length(rows=1617, epochs=29, steps=203)),
        # Of many rows a sample of just so many is seen once.
        ((50, 256), 54_000, 784, Length(rows=51_200, epochs=1, steps=200)),
        # A job that is shorter is raced as it is.
        ((3, 256), 1617, 64, Length(rows=1617, epochs=3, steps=21)),
        # Rows so wide that a window holds no more than 64 batches of them.
        ((50, 64), 100_000, 16_384, Length(rows=3200, epochs=4, steps=200)),
    ],
)
def test_a_race_has_the_steps_that_are_wanted_and_fits_one_window(
    job: tuple[int, int], rows: int, features: int, length: Length
) -> None:
    assert length_of(spec(*job), rows, features, 200) == length


@pytest.mark.parametrize("rows", [2, 31, 97, 1000, 5003, 77_777])
@pytest.mark.parametrize("wanted", [1, 7, 200, 999])
def test_it_is_never_shorter_than_wanted_and_hardly_longer(rows: int, wanted: int) -> None:
    length = length_of(spec(10_000, 32), rows, 10, wanted)
    assert wanted <= length.steps < wanted + length.epochs
    assert length.rows <= rows
