"""What the benchmarks on images share: the rows as a dataset, and what a record says of the machine."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoencoders.data import Dataset, ReadOptions, write_rows
from autoencoders.data.options import Other

RESULTS = Path(__file__).parent / "results"


def read_images(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out images [n, 28, 28], bytes: the archive's `x_train` and `x_test`."""
    with np.load(path, allow_pickle=False) as archive:
        return archive["x_train"].reshape(-1, 28, 28), archive["x_test"].reshape(-1, 28, 28)


def as_dataset(training: np.ndarray, held_out: np.ndarray, folder: Path) -> Dataset:
    """A canonical dataset whose held-out rows are given, not drawn."""
    if not (folder / "training").exists():
        write_rows(held_out, folder / "held_out", options=ReadOptions(name="held_out"))
        options = ReadOptions(
            name="training", holdout=Other(dataset="held_out"), holdout_folder=folder / "held_out"
        )
        write_rows(training, folder / "training", options=options)
    return Dataset.open(folder / "training")


def circumstances(threads: int) -> dict[str, Any]:
    """The command (files and folders by their names alone), day, machine and versions of a measurement."""
    words = [Path(word).name if os.sep in word and Path(word).exists() else word for word in sys.argv[1:]]
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "load": round(os.getloadavg()[2], 2),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
