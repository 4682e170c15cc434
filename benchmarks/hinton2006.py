"""The deep autoencoders of 2006 again: the same nets and rows, from specs alone, beside published figures.

    python benchmarks/hinton2006.py --data mnist.npz --recipe classic [--recipe wide ...] [--seed 0]
    python benchmarks/hinton2006.py --recipe curves

A recipe is a spec as a job has it, and runs through the same `Experiment` that jobs use. Errors are squared,
summed over a row's pixels in [0, 1] and averaged over rows: on the 10,000 held-out digits and on the 60,000
that were trained on. `--set` changes any field of a recipe for one run, and the record says so. A TERM signal
ends a training early, and it is recorded all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# libgomp reads it once, when torch is imported: waiting threads must not spin while the other one still
# computes.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = "2000"
    os.execv(sys.executable, [sys.executable, *sys.argv])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from autoencoders import build
from autoencoders.data import Dataset
from autoencoders.data.baselines import pca_error
from autoencoders.data.samples import samples
from autoencoders.events import Epoch, Event, Finished, Initialised, Warned
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from autoencoders.training import HeldOut, evaluate
from benchmarks.records import RESULTS, as_dataset, circumstances, read_images

WIDTHS = [1000, 500, 250]
CURVES_WIDTHS = [400, 200, 100, 50, 25]


def _dense(widths: Sequence[int], code: int, activation: str, norm: str = "none") -> dict[str, Any]:
    return {
        "name": "dense",
        "widths": list(widths),
        "code": code,
        "activation": activation,
        "norm": norm,
        "output": "sigmoid",
    }


def _training(epochs: int, **parameters: Any) -> dict[str, Any]:
    return {"epochs": epochs, "early_stopping": None, **parameters}


ANNEALED = {"name": "cosine", "warmup": 0.02}
MODERN: dict[str, Any] = {
    "init": "he_normal",
    "objective": {"loss": "mse", "augmentation": "shift"},
    "optimizer": {"name": "adamw", "learning_rate": 4e-3},
    "schedule": ANNEALED,
}
AS_IN_2006: dict[str, Any] = {
    "architecture": _dense(WIDTHS, 30, "sigmoid"),
    "init": {"name": "rbm_stack", "epochs": 10},
    "objective": {"loss": "bce", "augmentation": "shift"},
}
RECIPES: dict[str, dict[str, Any]] = {
    "pretrained": {
        **AS_IN_2006,
        "optimizer": {"name": "adam", "learning_rate": 2e-3},
        "schedule": ANNEALED,
        "training": _training(60, batch_size=128),
    },
    "pretrained-lbfgs": {
        **AS_IN_2006,
        "optimizer": {"name": "lbfgs"},
        "schedule": "constant",
        "training": _training(25, batch_size=2000),
    },
    "classic": {
        **MODERN,
        "architecture": _dense(WIDTHS, 30, "gelu", "batch"),
        "training": _training(170),
    },
    "wide": {
        **MODERN,
        "architecture": _dense([2000, 1000, 500], 30, "gelu", "batch"),
        "training": _training(100, batch_size=128),
    },
    "curves": {
        **MODERN,
        "architecture": _dense(CURVES_WIDTHS, 6, "gelu", "batch"),
        "objective": {"loss": "mse"},
        "training": _training(200, batch_size=128),
    },
}

HINTON, MARTENS = "Hinton and Salakhutdinov, 2006", "Martens, 2010"
SUTSKEVER = "Sutskever, Martens, Dahl and Hinton, 2013"


def _figure(what: str, source: str, **errors: float) -> dict[str, Any]:
    return {"what": what, "source": source, **errors}


PUBLISHED: dict[str, list[dict[str, Any]]] = {
    "mnist": [
        _figure("PCA, 30 components", HINTON, held_out=13.87),
        _figure("RBM stack, conjugate gradients", HINTON, held_out=3.00),
        _figure("the same, run again", MARTENS, held_out=2.72, training=2.31),
        _figure("sparse init, Hessian-free", MARTENS, held_out=2.78, training=1.64),
        _figure("RBM stack, Hessian-free, L2", MARTENS, held_out=2.28, training=1.60),
        _figure("sparse init, Nesterov, 750,000 updates", SUTSKEVER, training=0.73),
    ],
    "curves": [
        _figure("PCA, 18 components", HINTON, held_out=5.90),
        _figure("RBM stack, conjugate gradients", HINTON, held_out=1.44),
        _figure("sparse init, Hessian-free", MARTENS, held_out=0.20, training=0.11),
        _figure("sparse init, Nesterov, 750,000 updates", SUTSKEVER, training=0.074),
    ],
}
"""Published squared errors; those of `curves` are of the original images, which ours resemble but are not."""


@dataclass
class Clock:
    """Seconds since it was made: by the wall, and of this process, which neighbours do not lengthen."""

    wall: float
    cpu: float

    @classmethod
    def start(cls) -> Clock:
        """Both at zero now."""
        return cls(time.perf_counter(), time.process_time())

    def read(self) -> tuple[float, float]:
        """Seconds by the wall and of the process."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def images(path: Path | None, recipe: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out images: the archive's `x_train` and `x_test`, or curves for such a recipe."""
    if recipe.startswith("curves"):
        drawn = samples.call(samples.choose("curves", rows=30_000)).rows
        return drawn[:20_000], drawn[20_000:]
    if path is None:
        raise SystemExit(f"{recipe} needs --data: an npz with x_train and x_test, 28x28 bytes")
    return read_images(path)


def changed(spec: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with fields replaced, each named by its path: `{"training.epochs": 3}`."""
    copy: dict[str, Any] = json.loads(json.dumps(spec))
    for path, value in changes.items():
        *parents, last = path.split(".")
        here = copy
        for name in parents:
            found = here.setdefault(name, {})
            here[name] = here = {"name": found} if isinstance(found, str) else found
        here[last] = value
    return copy


def watched(events: Iterator[Event], write: Callable[[str], None], clock: Clock) -> dict[str, Any]:
    """Every event of a training, told as it comes; the errors of its epochs and how it ended."""
    found: dict[str, Any] = {"errors": [], "minutes_by_epoch": [], "init_seconds": 0.0}
    for event in events:
        wall, cpu = clock.read()
        if isinstance(event, Epoch):
            found["errors"].append(round(event.error, 4))
            found["minutes_by_epoch"].append(round(wall / 60, 2))
            spent = f"{wall / 60:5.1f} min, {cpu / 60:5.1f} min of CPU"
            errors = f"held-out {event.error:8.3f} objective {event.train_loss:8.3f}"
            write(f"{event.epoch:4}/{event.epochs} {errors} {event.rows_per_second:6.0f} rows/s, {spent}")
        elif isinstance(event, Initialised):
            found["init_seconds"] = round(wall, 1)
            write(f"     {event.word} {event.detail} {wall:.1f} s")
        elif isinstance(event, Warned):
            write(f"     {event.message}")
        elif isinstance(event, Finished):
            found |= {"ended": event.ended, "epochs": event.epoch, "steps": event.step}
    return found


def run(spec: dict[str, Any], data: Dataset, threads: int, write: Callable[[str], None]) -> dict[str, Any]:
    """Train one spec and measure it: the record's part that is about this training."""
    experiment = Experiment(Spec.model_validate(spec), data, threads=threads)
    # Cut short, a training still has its best weights and is recorded, with how it ended.
    signal.signal(signal.SIGTERM, lambda *_: experiment.stop())
    clock = Clock.start()
    story = watched(experiment.run(), write, clock)
    wall, cpu = clock.read()
    objective = build.objective(experiment.spec, data.facts, data.moments.statistics)
    training = evaluate(experiment.model, objective, HeldOut(data.training, experiment.affine))
    assert experiment.metrics is not None, "a training that was watched to its end has metrics"
    baselines = experiment.baselines
    return {
        "held_out": round(experiment.metrics.error, 4),
        "held_out_last_epoch": story["errors"][-1],
        "held_out_loss": round(experiment.metrics.loss, 4),
        "training": round(training.error, 4),
        "mean": baselines["mean"],
        "pca": baselines["pca"],
        "pca_18": pca_error(data.moments, experiment.affine, 18),
        "parameters": sum(parameter.numel() for parameter in experiment.model.parameters()),
        "minutes": round(wall / 60, 2),
        "cpu_minutes": round(cpu / 60, 2),
        **story,
        "spec": experiment.spec.model_dump(mode="json"),
    }


def record(
    recipe: str, changes: Mapping[str, Any], measured: dict[str, Any], threads: int, data: Dataset
) -> dict[str, Any]:
    """A run with everything that gave it, and the published figures."""
    return {
        "recipe": recipe,
        "changes": dict(changes),
        **circumstances(threads),
        "seed": measured["spec"]["training"]["seed"],
        "dataset_sha256": data.manifest.sha256,
        **measured,
        "published": PUBLISHED["curves" if recipe.startswith("curves") else "mnist"],
    }


def main(write: Callable[[str], None] = print) -> None:
    """Train each recipe that was asked for, print how it goes, and write its record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="an npz with x_train and x_test of 28x28 bytes")
    parser.add_argument("--recipe", action="append", choices=sorted(RECIPES), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=JSON",
        help='such as training.epochs=3 or init="lsuv"',
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--label", default="", help="added to the record's file name")
    asked = parser.parse_args()
    changes = {path: json.loads(value) for path, _, value in (item.partition("=") for item in asked.set)}
    for recipe in asked.recipe:
        spec = changed(RECIPES[recipe], {"training.seed": asked.seed, **changes})
        with tempfile.TemporaryDirectory(prefix="hinton2006-") as scratch:
            data = as_dataset(*images(asked.data, recipe), Path(scratch))
            measured = run(spec, data, asked.threads, write)
            report = record(recipe, changes, measured, asked.threads, data)
        write(f"{recipe}: held-out {report['held_out']}, training {report['training']}")
        for figure in report["published"]:
            errors = ", ".join(
                f"{name} {figure[name]}" for name in ("held_out", "training") if name in figure
            )
            write(f"    {figure['what']} ({figure['source']}): {errors}")
        asked.results.mkdir(parents=True, exist_ok=True)
        name = "-".join(part for part in ("hinton2006", recipe, asked.label) if part)
        (asked.results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
