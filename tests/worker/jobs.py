"""Real datasets and specs: small jobs that end soon, and one that does not end by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoencoders.data.options import ReadOptions
from autoencoders.data.samples import samples, write_sample
from store import Datasets, ids
from tests.worker.house import House


def digits(house: House) -> str:
    """The digits, written and registered; its id."""
    identity = ids.new("ds")
    folder = house.settings.home / "tmp" / identity
    manifest = write_sample(samples.choose("digits"), folder, ReadOptions(name="digits"))
    house.store.artifacts.put_folder(Path(folder), f"datasets/{identity}", move=True)
    with house.store.transaction() as session:
        Datasets(session).create(id=identity, name="digits", manifest=manifest.model_dump(mode="json"))
    return identity


def small(**training: Any) -> dict[str, Any]:
    """A job of a second."""
    return {
        "architecture": {"name": "dense", "widths": [16], "code": 4},
        "init": "he_normal",
        "training": {"epochs": 3, "batch_size": 64, "seed": 7, "early_stopping": None, **training},
    }


def endless(**training: Any) -> dict[str, Any]:
    """A job that goes on until somebody ends it."""
    return small(**{"epochs": 1_000_000, **training})
