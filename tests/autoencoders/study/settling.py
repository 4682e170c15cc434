"""Small jobs with something left open, and what settling makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoencoders.data import Dataset, write_rows
from autoencoders.spec import Spec
from autoencoders.study.settle import Settling
from tests.autoencoders import tiny


def rows(folder: Path, count: int = 200) -> Dataset:
    """Rows in [0, 1] near a plane of three dimensions."""
    write_rows(tiny.rows(count), folder / "rows")
    return Dataset.open(folder / "rows")


def job(activation: str = "leaky_relu", *, epochs: int = 50, **more: Any) -> Spec:
    """A net of two hidden layers; with 180 training rows, six steps an epoch."""
    return Spec.model_validate(
        {
            "architecture": {"name": "dense", "widths": [16, 8], "code": 3, "activation": activation},
            "init": "auto",
            "training": {"epochs": epochs, "batch_size": 32, "seed": 5, "early_stopping": None},
            **more,
        }
    )


def settled(spec: Spec, dataset: Dataset, **options: Any) -> Settling:
    """Settled, on one thread."""
    settling = Settling(spec, dataset, threads=1, **options)
    for _ in settling.run():
        pass
    return settling


def timeless(found: Any) -> Any:
    """Evidence without what depends on how fast it went."""
    if isinstance(found, dict):
        return {key: timeless(value) for key, value in found.items() if "seconds" not in key}
    return [timeless(item) for item in found] if isinstance(found, list) else found
