"""What every init takes at the size of MNIST, through the same Experiment that jobs use.

Run by `benchmarks/training.py --inits`: 784-1000-500-250-30 and its mirror, one thread; the words of residual
nets on a residual net of 512 and 8 blocks, those that need a weight norm or another code with it. Processor
seconds beside those on the wall, since a machine is rarely one's own; pretraining for one epoch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoencoders.data import Dataset, write_rows
from autoencoders.errors import SpecRefused
from autoencoders.experiment import Experiment
from autoencoders.init import inits
from autoencoders.spec import Spec

DENSE: dict[str, Any] = {"name": "dense", "widths": [1000, 500, 250], "code": 30, "output": "sigmoid"}
NETS: dict[str, dict[str, Any]] = {
    "dense, leaky_relu": DENSE,
    "dense, tanh": {**DENSE, "activation": "tanh"},
    "dense, sigmoid": {**DENSE, "activation": "sigmoid"},
    "dense, weight norm": {**DENSE, "norm": "weight"},
    "dense, top_k": {**DENSE, "code": {"name": "top_k", "size": 512, "k": 30}},
    "dense_residual": {"name": "dense_residual", "width": 512, "blocks": 8, "code": 30, "output": "sigmoid"},
    "convolutional": {"name": "convolutional", "code": 30, "output": "sigmoid"},
}
NEEDED: dict[str, dict[str, Any]] = {
    "constant": {"value": 0.01},
    "normal": {"std": 0.01},
    "uniform": {"bound": 0.02},
    "truncated_normal": {"std": 0.01},
    "rbm_stack": {"epochs": 1},
    "stacked_denoising": {"epochs": 1},
}
WITHOUT = frozenset({"auto", "model"})
"""Words that need more than a spec and rows, or become another word."""


@dataclass(frozen=True)
class Taken:
    """What one init took.

    Attributes:
        word: its name.
        net: the first of the nets above that it is meant for.
        processor: seconds of the processor, all threads together.
        wall: seconds on the wall.
    """

    word: str
    net: str
    processor: float
    wall: float


def seconds_of_every_init(rows: np.ndarray) -> Iterator[Taken]:
    """One init after the other on rows [n, 28, 28] of uint8, in the catalog's order."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(rows, Path(folder) / "rows")
        dataset = Dataset.open(Path(folder) / "rows")
        for word in inits.names():
            if word not in WITHOUT:
                yield _taken({"name": word, **NEEDED.get(word, {})}, dataset)


def _taken(init: dict[str, Any], dataset: Dataset) -> Taken:
    refusal: SpecRefused | None = None
    for net, architecture in NETS.items():
        spec = Spec.model_validate({"architecture": architecture, "init": init})
        try:
            experiment = Experiment(spec, dataset, threads=1)
        except SpecRefused as error:
            refusal = error
            continue
        # Rows are read for the first time by the moments, which belong to the dataset and not to the init.
        assert experiment.baselines
        processor, wall = time.process_time(), time.perf_counter()
        for _ in experiment.initialise():
            pass
        return Taken(init["name"], net, time.process_time() - processor, time.perf_counter() - wall)
    assert refusal is not None
    raise refusal


HEAD = f"{'init':<20}{'net':<22}{'processor s':>12}{'wall s':>9}"


def line(one: Taken) -> str:
    """A line under `HEAD`."""
    return f"{one.word:<20}{one.net:<22}{one.processor:>12.3f}{one.wall:>9.3f}"
