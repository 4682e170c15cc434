"""Is initialising an autoencoder still difficult? One net, one budget, and only the start is different.

    python benchmarks/initialisation.py --data mnist.npz [--seeds 0 1 2] [--rows sigmoid-glorot-adam ...]

784-1000-500-250-30 and its mirror, linear code, sigmoid output, cross-entropy, batches of 200, 900 steps:
each row of the table is a spec, trained by the same `Experiment` that jobs use. Errors are squared, summed
over an image's pixels in [0, 1] and averaged over the held-out images. Every training is one line of the
record as soon as it is over, and a run that was broken off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# libgomp reads it once, when torch is imported: waiting threads must not spin while the other one still
# computes.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = "2000"
    os.execv(sys.executable, [sys.executable, *sys.argv])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoencoders.data import Dataset
from autoencoders.errors import TrainingDiverged
from autoencoders.events import Epoch, Initialised, Step
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from benchmarks.records import RESULTS, as_dataset, circumstances, read_images

NORMAL_SMALL = {"name": "normal", "std": 0.01}
NORMAL_LARGE = {"name": "normal", "std": 1.0}
RBM = {"name": "rbm_stack", "epochs": 2}
FOURFOLD = {"name": "glorot_normal", "gain": 4.0, "centre": True}

# Activation, init, norm, optimizer and rate; then the held-out error that one seed gave when the question was
# first measured, with rates from a short trial. None: not measured then.
TABLE: dict[str, tuple[str, Any, str, str, float, float | None]] = {
    "sigmoid-normal.01-nesterov": ("sigmoid", NORMAL_SMALL, "none", "nesterov", 0.01, 52.91),
    "sigmoid-normal.01-adam": ("sigmoid", NORMAL_SMALL, "none", "adam", 0.003, 33.23),
    "sigmoid-normal1-nesterov": ("sigmoid", NORMAL_LARGE, "none", "nesterov", 0.01, 52.92),
    "sigmoid-normal1-adam": ("sigmoid", NORMAL_LARGE, "none", "adam", 0.003, 51.4),
    "sigmoid-glorot-nesterov": ("sigmoid", "glorot_normal", "none", "nesterov", 0.03, 47.36),
    "sigmoid-glorot-adam": ("sigmoid", "glorot_normal", "none", "adam", 0.001, 40.97),
    "sigmoid-rbm-nesterov": ("sigmoid", RBM, "none", "nesterov", 0.01, 6.59),
    "sigmoid-rbm-adam": ("sigmoid", RBM, "none", "adam", 0.003, 4.88),
    "leaky-he-nesterov": ("leaky_relu", "he_normal", "none", "nesterov", 0.002, 7.63),
    "leaky-he-adam": ("leaky_relu", "he_normal", "none", "adam", 0.001, 5.45),
    "relu-he-batchnorm-nesterov": ("relu", "he_normal", "batch", "nesterov", 0.01, 5.26),
    "relu-he-batchnorm-adam": ("relu", "he_normal", "batch", "adam", 0.003, 4.86),
    "sigmoid-glorot4-centred-nesterov": ("sigmoid", FOURFOLD, "none", "nesterov", 0.01, 15.44),
    "sigmoid-glorot4-centred-adam": ("sigmoid", FOURFOLD, "none", "adam", 0.001, 12.5),
    "sigmoid-pca_greedy-adam": ("sigmoid", "pca_greedy", "none", "adam", 0.003, 6.11),
    "sigmoid-sparse-nesterov": ("sigmoid", "sparse", "none", "nesterov", 0.002, 22.92),
    "leaky-normal.01-adam": ("leaky_relu", NORMAL_SMALL, "none", "adam", 0.003, 14.64),
    "sigmoid-lsuv-adam": ("sigmoid", "lsuv", "none", "adam", 0.003, None),
    "sigmoid-lsuv-nesterov": ("sigmoid", "lsuv", "none", "nesterov", 0.01, None),
    "tanh-glorot-adam": ("tanh", "glorot_normal", "none", "adam", 0.001, None),
    "tanh-orthogonal-adam": ("tanh", "orthogonal", "none", "adam", 0.001, None),
    "leaky-pca_greedy-adam": ("leaky_relu", "pca_greedy", "none", "adam", 0.001, None),
}
PUBLISHED = {"the mean image": 52.90, "PCA, 30 components": 13.87}


def spec(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """The row's job."""
    activation, init, norm, optimizer, rate, _ = TABLE[name]
    return {
        "architecture": {
            "name": "dense",
            "widths": [1000, 500, 250],
            "code": 30,
            "activation": activation,
            "norm": norm,
            "output": "sigmoid",
        },
        "init": init,
        "objective": {"loss": "bce"},
        "optimizer": {"name": optimizer, "learning_rate": rate},
        "schedule": {"name": "cosine", "warmup": 0.02},
        "training": {"epochs": epochs, "batch_size": 200, "seed": seed, "early_stopping": None},
    }


def train(name: str, seed: int, epochs: int, data: Dataset) -> dict[str, Any]:
    """One training of the table: its errors, its curve, and what its start cost."""
    experiment = Experiment(Spec.model_validate(spec(name, seed, epochs)), data, diagnose=False)
    started, cpu = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {"row": name, "seed": seed, "init_seconds": 0.0, "errors": [], "curve": []}
    try:
        for event in experiment.run():
            if isinstance(event, Initialised):
                found["init_seconds"] = round(time.perf_counter() - started, 2)
            elif isinstance(event, Step):
                found["curve"].append([event.step, round(event.loss, 2)])
            elif isinstance(event, Epoch):
                found["errors"].append(round(event.error, 3))
        assert experiment.metrics is not None, "a training that was watched to its end has metrics"
        found |= {"error": round(experiment.metrics.error, 3), "loss": round(experiment.metrics.loss, 3)}
    except TrainingDiverged as diverged:
        found |= {"error": None, "diverged": str(diverged)}
    seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    return (
        found | {key: round(value, 1) for key, value in seconds.items()} | {"baselines": experiment.baselines}
    )


def summary(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table: each row's mean error over its seeds with the extremes, and what was measured before."""
    rows = []
    for name, (*_, rate, before) in TABLE.items():
        errors = [one["error"] for one in trainings if one["row"] == name]
        if errors:
            known = [error for error in errors if error is not None]
            rows.append(
                {
                    "row": name,
                    "learning_rate": rate,
                    "seeds": len(errors),
                    "diverged": len(errors) - len(known),
                    "error": round(statistics.fmean(known), 2) if known else None,
                    "least": min(known, default=None),
                    "greatest": max(known, default=None),
                    "init_seconds": statistics.median(
                        one["init_seconds"] for one in trainings if one["row"] == name
                    ),
                    "before": before,
                }
            )
    return rows


def markdown(rows: list[dict[str, Any]], baselines: dict[str, float]) -> str:
    """The table for people."""
    lines = [
        "| start | rate | held-out error, mean (least to greatest) | seeds | before | seconds to start |",
        "| --- | --: | --: | --: | --: | --: |",
        f"| the mean image | | {baselines['mean']:.2f} | | 52.90 | |",
        f"| PCA, 30 components | | {baselines['pca']:.2f} | | 13.87 | |",
    ]
    for row in rows:
        error = (
            "diverged"
            if row["error"] is None
            else f"**{row['error']:.2f}** ({row['least']:.2f} to {row['greatest']:.2f})"
        )
        before = "" if row["before"] is None else f"{row['before']:.2f}"
        lines.append(
            f"| {row['row']} | {row['learning_rate']:g} | {error} | {row['seeds']} | {before} "
            f"| {row['init_seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is not in the record yet, one line each; print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="an npz with x_train and x_test, 28x28 bytes"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=list(TABLE), default=list(TABLE))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--record", type=Path, default=RESULTS / "initialisation.json")
    asked = parser.parse_args()
    kept: dict[str, Any] = (
        json.loads(asked.record.read_text()) if asked.record.exists() else {"trainings": []}
    )
    done = {(one["row"], one["seed"]) for one in kept["trainings"]}
    with tempfile.TemporaryDirectory(prefix="initialisation-") as scratch:
        data = as_dataset(*read_images(asked.data), Path(scratch))
        # Seed by seed, so that a run that is broken off has a whole table.
        for seed in asked.seeds:
            for name in asked.rows:
                if (name, seed) in done:
                    continue
                one = train(name, seed, asked.epochs, data)
                print(f"{name} seed {seed}: {one['error']} in {one['seconds']} s", flush=True)
                kept["baselines"] = one.pop("baselines")
                kept["trainings"].append(one)
                table = summary(kept["trainings"])
                kept = {**circumstances(asked.threads), **kept, "table": table, "published": PUBLISHED}
                asked.record.parent.mkdir(parents=True, exist_ok=True)
                asked.record.write_text(json.dumps(kept, indent=1) + "\n")
    print(markdown(summary(kept["trainings"]), kept["baselines"]))


if __name__ == "__main__":
    main()
