"""On the shipped samples a race of 24 cells finds the grid's winner for under a third of its epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoencoders import Study
from autoencoders.data import Dataset, samples, write_rows
from autoencoders.events import Epoch

EPOCHS = 18
SAMPLES = {"digits": 6, "blobs": 3}
"""By name: the size of the code."""


def run(rows: Dataset, code: int, *, racing: bool) -> tuple[dict[str, Any], int]:
    study = Study(
        {"code": code, "training": {"batch_size": 50}},
        rows,
        preset="inits-x-activations",
        budget={"epochs": EPOCHS},
        racing=racing,
    )
    epochs = sum(isinstance(told.event, Epoch) for told in study.run())
    return study.report(), epochs


@pytest.mark.slow
@pytest.mark.parametrize(("sample", "code"), SAMPLES.items())
def test_a_race_of_24_cells_finds_the_grid_s_winner_for_under_a_third(
    sample: str, code: int, tmp_path: Path
) -> None:
    size = {} if sample == "digits" else {"rows": 1200}
    drawn = samples.call(samples.choose(sample, **size))
    write_rows(drawn.rows[:1200], tmp_path / "dataset", columns=drawn.columns)
    rows = Dataset.open(tmp_path / "dataset")
    raced, epochs = run(rows, code, racing=True)
    whole, _ = run(rows, code, racing=False)
    assert epochs < 24 * EPOCHS / 3
    assert raced["best"]["cell"] == whole["best"]["cell"]
    assert raced["best"]["error"] == whole["best"]["error"]
