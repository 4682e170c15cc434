"""Facts, plans and outcomes for the tests of studies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoencoders.data import Dataset, write_rows
from autoencoders.data.manifest import Facts
from autoencoders.errors import SpecRefused
from autoencoders.study import Plan, compose, plan
from tests.autoencoders import tiny

FACTS = Facts(
    shape=(12,), dtype="float32", rows=200, training_rows=180, held_out_rows=20, minimum=0.0, maximum=1.0
)
BASE: dict[str, Any] = {
    "architecture": {"name": "dense", "widths": [8, 6], "code": 3},
    "init": "he_normal",
    "training": {"epochs": 9, "batch_size": 32},
}
BASELINES = {"mean": 10.0, "pca": 2.0}
STARTS = ["lsuv", "orthogonal", "he_normal", "zeros"]
GRID = {"init": STARTS}
TWO_WAYS = {"init": ["lsuv", "zeros"], "architecture.activation": ["tanh", "relu"]}
CLOSE = {0: [3.0, 4.0, 5.0], 1: [3.1, 3.9, 5.0], 2: [4.0, 5.0, 6.0], 3: [10.0, 10.1, 9.9]}
"""Errors of four cells from three seeds; the first two are tied."""
DIVERGED = {"type": "training-diverged", "title": "Training diverged", "detail": "it ran away at step 9"}

Problems = list[tuple[tuple[str, ...], str]]


def planned(base: Mapping[str, Any] = BASE, **request: Any) -> Plan:
    return plan(base, facts=FACTS, **request)


def refused(base: Mapping[str, Any] = BASE, **request: Any) -> Problems:
    """What a study is refused for."""
    try:
        planned(base, **request)
    except SpecRefused as refusal:
        return list(refusal.problems)
    raise AssertionError("it was not refused")


def dataset(folder: Path, rows: int = 200) -> Dataset:
    write_rows(tiny.rows(rows), folder)
    return Dataset.open(folder)


def outcome(cell: int, seed: int, error: float | None, **other: Any) -> dict[str, Any]:
    """An outcome as the store gathers it: three epochs down to the error."""
    errors = [] if error is None else [error + 2.0, error + 1.0, error]
    return {
        "job": f"job_{cell}_{seed}",
        "cell": cell,
        "seed": seed,
        "state": "succeeded",
        "rung": 1,
        "raced_out": False,
        "error": error,
        "ended": "epochs",
        "problem": None,
        "model": None,
        "baselines": BASELINES,
        "curve": [
            {"epoch": epoch, "step": 6 * epoch, "error": at, "loss": at, "seconds": 0.5 * epoch}
            for epoch, at in enumerate(errors, start=1)
        ],
        "init_seconds": 0.25,
        "seconds": 1.5,
        "diagnosis": None,
        "init": None,
        "learning_rate": None,
        "chosen": None,
        "attempts": 1,
        **other,
    }


def outcomes(errors: Mapping[int, Sequence[float]], **other: Any) -> list[dict[str, Any]]:
    """One outcome for each cell and seed."""
    return [
        outcome(cell, seed, error, **other)
        for cell, by_seed in errors.items()
        for seed, error in enumerate(by_seed)
    ]


def report(plan: Plan, found: list[dict[str, Any]], state: str = "succeeded") -> dict[str, Any]:
    """The report, which is JSON."""
    made = compose({}, plan.document(), found, baselines=BASELINES, state=state)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def diagnosis(outlook: str, gain: float = 0.0) -> dict[str, Any]:
    """What was seen of a start, as its event has it."""
    evidence = {"trial.gain": gain, "code.correlation": 0.9}
    verdict = {"outlook": outlook, "cause": "dead code", "cure": "another start", "evidence": evidence}
    return {"diagnosis": {"verdict": verdict, "losses": {"start": 20.0 - gain}}}


def three_seeds(**request: Any) -> Plan:
    return planned(grid=GRID, seeds=[0, 1, 2], **request)
