"""`auto` against every single init: full trainings of architectures x activations on the shipped datasets.

    python benchmarks/auto.py [--keep auto.jsonl] [--pairs "digits, dense, sigmoid"] [--seeds 0 1 2]

Every pair is trained from every init that its net accepts (each word of the catalog with its usual
parameters, and the candidates of `auto` as they race), and from what `auto` makes of it; each with every
seed, all epochs, no early stop. The table has the mean held-out error over seeds of `auto`, of the best
single init and of the worst; `tied` says that the bootstrap interval of the paired differences to the best
contains zero. `--keep` is a file to which finished trainings are added and from which they are read again;
`--finished` trains nothing. The record is `results/auto.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from autoencoders import build
from autoencoders.data import Dataset, samples, write_sample
from autoencoders.errors import AutoencoderError, SpecRefused
from autoencoders.events import Finished, Initialised
from autoencoders.experiment import Experiment
from autoencoders.init import inits
from autoencoders.spec import Spec
from autoencoders.study.bootstrap import tied
from autoencoders.study.candidates import candidates
from autoencoders.study.settle import Settling
from benchmarks.init_seconds import NEEDED
from benchmarks.records import RESULTS, circumstances

SAMPLES: dict[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "curves": {"name": "curves", "rows": 4000},
    "sines": {"name": "sines", "rows": 5000},
    "blobs": {"name": "blobs"},
    "digits for long": {"name": "digits"},
    "sines for long": {"name": "sines", "rows": 5000},
}
CODES = {"digits": 8, "curves": 8, "sines": 4, "blobs": 3, "digits for long": 8, "sines for long": 4}
# Most jobs are so short that a race is as long as they are; the long ones are ten times its length.
EPOCHS = {"digits": 50, "curves": 30, "sines": 30, "blobs": 30, "digits for long": 500, "sines for long": 250}
NETS: dict[str, dict[str, Any]] = {
    "dense": {"name": "dense"},
    "small": {"name": "dense", "widths": [64, 32]},
    "deep": {"name": "dense", "widths": [128, 96, 64, 48, 32]},
    "residual": {"name": "dense_residual", "width": 64, "blocks": 4},
    "convolutional": {"name": "convolutional", "channels": [8, 16]},
    "convolutional residual": {"name": "convolutional_residual", "channels": [8, 16]},
}
PAIRS = (
    ("digits", "dense", "sigmoid"),
    ("digits", "dense", "tanh"),
    ("digits", "dense", "relu"),
    ("digits", "dense", "leaky_relu"),
    ("digits", "deep", "sigmoid"),
    ("digits", "deep", "elu"),
    ("digits", "residual", "relu"),
    ("digits", "convolutional", "leaky_relu"),
    ("digits", "convolutional", "tanh"),
    ("digits", "convolutional residual", "gelu"),
    ("curves", "dense", "sigmoid"),
    ("curves", "dense", "silu"),
    ("sines", "dense", "tanh"),
    ("sines", "dense", "sigmoid"),
    ("sines", "residual", "selu"),
    ("blobs", "small", "softplus"),
    ("digits for long", "dense", "leaky_relu"),
    ("sines for long", "dense", "gelu"),
)
WITHOUT = ("auto", "model")
PLAIN = ("he_", "glorot_")


def key_of(pair: tuple[str, str, str], init: dict[str, Any], seed: int) -> str:
    """By which a finished training is found again."""
    return json.dumps([", ".join(pair), init, seed], sort_keys=True)


def spec_of(pair: tuple[str, str, str], init: dict[str, Any], seed: int) -> Spec:
    """The job of one training."""
    sample, net, activation = pair
    return Spec.model_validate(
        {
            "code": CODES[sample],
            "architecture": {**NETS[net], "activation": activation},
            "init": init,
            "training": {"epochs": EPOCHS[sample], "seed": seed, "early_stopping": None},
        }
    )


def single_inits(pair: tuple[str, str, str], dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Every init that the pair's net accepts, as it is written: all words, then candidates with options."""
    wanted = [{"name": word, **NEEDED.get(word, {})} for word in inits.names() if word not in WITHOUT]
    # Those of the timings are as short as can be; here pretraining is what it usually is.
    wanted = [
        {"name": init["name"]} if init["name"] in ("rbm_stack", "stacked_denoising") else init
        for init in wanted
    ]
    spec = spec_of(pair, {"name": "auto"}, 0).resolve(dataset.facts)
    with torch.device("meta"):
        model = build.model(spec, dataset.facts)
    for choice in candidates(inits.choose("auto"), model, len(dataset.training)):
        options = {"output_bias": choice.output_bias, "centre": choice.centre}
        if choice.output_bias != "zero" or choice.centre:
            wanted.append({"name": choice.name, **options})
    for init in wanted:
        try:
            spec_of(pair, init, 0).resolve(dataset.facts).check(dataset.facts)
        except SpecRefused:
            continue
        yield init


def train(pair: tuple[str, str, str], init: dict[str, Any], seed: int, dataset: Dataset) -> dict[str, Any]:
    """One whole training; `error` is None where it diverged."""
    began = time.perf_counter()
    settling = Settling(spec_of(pair, init, seed), dataset)
    for _ in settling.run():
        pass
    choosing = time.perf_counter() - began
    experiment = Experiment(settling.spec, dataset, diagnose=False)
    error, initialising = None, 0.0
    try:
        for event in experiment.run():
            if isinstance(event, Initialised) and event.part == "model":
                initialising = event.seconds
            if isinstance(event, Finished):
                error = event.error
    except (AutoencoderError, RuntimeError) as broken:
        print(f"  {init['name']}: {broken}", flush=True)
    return {
        "key": key_of(pair, init, seed),
        "pair": ", ".join(pair),
        "init": init,
        "seed": seed,
        "error": error,
        "baselines": experiment.baselines,
        "auto": settling.evidence["auto"],
        "seconds": {
            "choosing": round(choosing, 3),
            "initialising": round(initialising, 3),
            "whole": round(time.perf_counter() - began, 3),
        },
    }


def read(keep: Path) -> list[dict[str, Any]]:
    """The lines of a file, if there is one."""
    return [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []


def collect(pairs: list[tuple[str, str, str]], seeds: list[int], keep: Path, folder: Path) -> None:
    """Train what is not yet in the file."""
    done = {line["key"] for line in read(keep)}
    for pair in pairs:
        dataset = dataset_of(pair[0], folder)
        for init in ({"name": "auto"}, *single_inits(pair, dataset)):
            for seed in seeds:
                if key_of(pair, init, seed) in done:
                    continue
                found = train(pair, init, seed, dataset)
                with keep.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                became = found["auto"] and found["auto"]["chosen"]["name"]
                error = math.nan if found["error"] is None else found["error"]
                print(
                    f"{found['seconds']['whole']:6.1f} s  {error:9.4f}  {', '.join(pair)}, seed {seed}: "
                    f"{label(init)}{f' -> {became}' if became else ''}",
                    flush=True,
                )


def dataset_of(sample: str, folder: Path) -> Dataset:
    """The sample, written once."""
    if not (folder / sample).exists():
        write_sample(samples.choose(SAMPLES[sample]), folder / sample)
    return Dataset.open(folder / sample)


def label(init: dict[str, Any]) -> str:
    """An init in a few words."""
    options = [f"{name} {value}" for name, value in init.items() if name != "name"]
    return ", ".join([str(init["name"]), *options])


def row_of(pair: str, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What one pair showed; None where `auto` or all others are missing."""
    errors: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        errors[label(line["init"])][line["seed"]] = math.inf if line["error"] is None else line["error"]
    auto = errors.pop("auto", None)
    if not auto or not errors:
        return None
    seeds = sorted(auto)
    means = {
        name: sum(found[seed] for seed in seeds) / len(seeds)
        for name, found in errors.items()
        if set(seeds) <= found.keys()
    }
    best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    mean_of_auto = sum(auto.values()) / len(seeds)
    both = np.array([[found[seed] for seed in seeds] for found in (auto, errors[best])])
    evidence = [line for line in lines if line["init"] == {"name": "auto"}]
    baselines = evidence[0]["baselines"]
    closed = (baselines["mean"] - mean_of_auto) / (baselines["mean"] - baselines["pca"])
    chosen = [line["auto"]["chosen"]["name"] for line in evidence]
    return {
        "pair": pair,
        "auto": {"error": mean_of_auto, "errors": [auto[seed] for seed in seeds], "chosen": chosen},
        "best": {"init": best, "error": means[best], "errors": [errors[best][seed] for seed in seeds]},
        "worst": {"init": worst, "error": means[worst] if math.isfinite(means[worst]) else None},
        "inits": len(means),
        "above_the_best": mean_of_auto / means[best] - 1,
        "tied": bool(np.isfinite(both).all() and tied(both)[0, 1]),
        "closed": closed,
        "stuck": closed < 0.1,
        "plain_on_sigmoid": "sigmoid" in pair and any(word.startswith(PLAIN) for word in chosen),
        "share_of_the_job": max(line["auto"]["share"] for line in evidence),
        "ranking": sorted(
            ([name, found if math.isfinite(found) else None] for name, found in means.items()),
            key=lambda item: math.inf if item[1] is None else item[1],
        ),
    }


def holds(row: dict[str, Any]) -> bool:
    """Whether a pair is as it shall be."""
    near = row["above_the_best"] <= 0.05 or row["tied"]
    return near and not row["stuck"] and not row["plain_on_sigmoid"]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for a reader."""
    lines = [
        "| pair | auto | became | best single init | | worst | | auto above the best | tied |",
        "| --- | --: | --- | --: | --- | --: | --- | --: | --- |",
    ]
    for row in rows:
        worst = "diverged" if row["worst"]["error"] is None else f"{row['worst']['error']:.3f}"
        became = ", ".join(sorted(set(row["auto"]["chosen"])))
        lines.append(
            f"| {row['pair']} | {row['auto']['error']:.3f} | {became} | "
            f"{row['best']['error']:.3f} | {row['best']['init']} | {worst} | {row['worst']['init']} | "
            f"{100 * row['above_the_best']:+.1f}% | {'yes' if row['tied'] else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, print the table, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pairs", nargs="+", default=[", ".join(pair) for pair in PAIRS], metavar="PAIR")
    parser.add_argument("--keep", type=Path, help="a file of finished trainings, added to and read again")
    parser.add_argument("--finished", action="store_true", help="report on what is kept, train nothing")
    parser.add_argument("--record", type=Path, default=RESULTS / "auto.json")
    parser.add_argument("--note", default="", help="what a reader of the record must know")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    pairs = [pair for pair in PAIRS if ", ".join(pair) in asked.pairs]
    with tempfile.TemporaryDirectory() as folder:
        keep = asked.keep or Path(folder) / "auto.jsonl"
        if not asked.finished:
            collect(pairs, asked.seeds, keep, Path(folder))
        by_pair: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in read(keep):
            if line["seed"] in asked.seeds:
                by_pair[line["pair"]].append(line)
    rows = [row for pair in pairs if (row := row_of(", ".join(pair), by_pair[", ".join(pair)])) is not None]
    print(table(rows))
    print(f"{sum(map(holds, rows))} of {len(rows)} pairs hold")
    report = {
        **circumstances(asked.threads),
        "note": asked.note,
        "samples": SAMPLES,
        "nets": NETS,
        "codes": CODES,
        "epochs": EPOCHS,
        "seeds": asked.seeds,
        "pairs": rows,
    }
    asked.record.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
