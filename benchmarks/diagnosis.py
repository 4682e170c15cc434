"""How often a verdict is right: a grid of nets is diagnosed, then trained to the horizon of its forecast.

    python benchmarks/diagnosis.py --data mnist.npz [--grid 150] [--odd 100] [--rows 3000] [--keep grid.jsonl]

Every net is a job like any other: its diagnosis comes from the `Diagnosed` event, the truth from the held-out
error after min(900, its own number of) steps of 200 rows. The rule of `autoencoders/diagnostics/outlook.py`
was set on odd jobs, drawn from init x activation x depth x norm x optimizer x loss x schedule x length; what
counts are the cells of a plain grid of the words that people choose first, none of which it was set on, and
the nets that vocabulary and docs speak of, at MNIST's size. `--keep` is a file to which finished nets are
added and from which they are read again; `--shard 0/2` trains every other one of them, so that two processes
can share the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from autoencoders.data import Dataset, write_rows
from autoencoders.data.options import Fraction, ReadOptions
from autoencoders.diagnostics import forecast
from autoencoders.diagnostics.outlook import ABOVE
from autoencoders.errors import AutoencoderError, TrainingDiverged
from autoencoders.events import Diagnosed, Epoch
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from benchmarks.forecast_nets import BATCH, drawn_jobs, grid_jobs, named_jobs
from benchmarks.records import RESULTS, circumstances

HORIZON = 900
HELD_OUT = 1000


def key_of(made: dict[str, Any]) -> str:
    """The hash by which a net is found again."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def observe(made: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Diagnose and train one net; its held-out error after every epoch up to the horizon."""
    experiment = Experiment(Spec.model_validate(made), dataset)
    per_epoch = -(-dataset.facts.training_rows // BATCH)
    epochs = min(made["training"]["epochs"], HORIZON // per_epoch)
    found: dict[str, Any] = {"key": key_of(made), "job": made, "errors": [], "diagnosis": None}
    began = time.perf_counter()
    try:
        for event in experiment.run():
            if isinstance(event, Diagnosed):
                found["diagnosis"] = event.diagnosis
            if isinstance(event, Epoch):
                found["errors"].append(event.error)
                if event.epoch >= epochs:
                    break
    except TrainingDiverged as error:
        found["errors"].append(None)
        found["diverged"] = str(error)
    found["baselines"] = experiment.baselines
    found["seconds"] = round(time.perf_counter() - began, 2)
    return found


def truth(found: dict[str, Any]) -> tuple[str, float]:
    """What became of it, and the share closed in the end."""
    mean, pca, last = found["baselines"]["mean"], found["baselines"]["pca"], found["errors"][-1]
    if last is None or not np.isfinite(last):
        return "diverges", float("-inf")
    closed = (mean - last) / (mean - pca)
    if closed < -ABOVE:
        return "diverges", closed
    return ("learns" if closed >= 0.5 else "stuck" if closed < 0.1 else "slow"), closed


def collect(jobs: dict[str, dict[str, Any]], dataset: Dataset, keep: Path, shard: tuple[int, int]) -> None:
    """Train what is not yet in the file."""
    done = {line["key"] for line in read(keep)}
    for number, (name, made) in enumerate(jobs.items()):
        if number % shard[1] != shard[0] or key_of(made) in done:
            continue
        try:
            found = observe(made, dataset)
        except (AutoencoderError, ValueError) as refusal:
            print(f"left out: {name}: {refusal}", flush=True)
            continue
        with keep.open("a") as file:
            file.write(json.dumps({"name": name, **found}) + "\n")
        outlook, closed = truth(found)
        said = found["diagnosis"]["verdict"]["outlook"]
        print(f"{found['seconds']:6.1f} s  {closed:6.2f} {outlook:8} {said:8} {name}", flush=True)


def read(keep: Path) -> list[dict[str, Any]]:
    """The lines of a file, if there is one."""
    return [json.loads(line) for line in keep.read_text().splitlines()] if keep.exists() else []


def summary(lines: list[dict[str, Any]], parts: dict[str, str]) -> dict[str, Any]:
    """Shares of right verdicts in each part of the nets, and every miss.

    Args:
        lines: finished nets.
        parts: "grid", "named" or "odd" by a net's key.
    """
    shares: dict[str, Counter[str]] = {}
    misses, table = [], []
    for line in lines:
        outlook, closed = truth(line)
        said = line["diagnosis"]["verdict"]
        count = shares.setdefault(parts[line["key"]], Counter())
        count["nets"] += 1
        count["right"] += outlook == said["outlook"]
        count["learning or not right"] += (outlook == "learns") == said["will_learn"]
        count[outlook] += 1
        row = {
            "name": line["name"],
            "part": parts[line["key"]],
            "closed": round(closed, 3) if np.isfinite(closed) else None,
            "outcome": outlook,
            "outlook": said["outlook"],
            "cause": said["cause"],
            "diagnosis_seconds": round(line["diagnosis"]["seconds"], 1),
        }
        table.append(row)
        if outlook != said["outlook"]:
            misses.append(row)
    shown = {part: {**count, "share_right": round(count["right"] / count["nets"], 3)}
             for part, count in shares.items()}  # fmt: skip
    return {"shares": shown, "misses": misses, "nets": table}


def dataset_of(path: Path, rows: int, folder: Path) -> Dataset:
    """So many training rows of the archive's `x_train`, and a thousand held-out ones, drawn from it."""
    with np.load(path, allow_pickle=False) as archive:
        images = archive["x_train"].reshape(-1, 28, 28)[: rows + HELD_OUT]
    share = HELD_OUT / len(images)
    write_rows(images, folder, options=ReadOptions(holdout=Fraction(fraction=share)))
    return Dataset.open(folder)


def again(line: dict[str, Any]) -> dict[str, Any]:
    """The line with the verdict that today's rule draws from its figures."""
    return {**line, "diagnosis": {**line["diagnosis"], "verdict": asdict(forecast(line["diagnosis"]))}}


def main() -> None:
    """Train what is missing, print and record the errors of the rule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="an npz with x_train of 28x28 bytes")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--grid", type=int, default=150, help="how many cells of the plain grid")
    parser.add_argument("--odd", type=int, default=100, help="how many of the odd jobs that set the rule")
    parser.add_argument("--keep", type=Path, help="a file of finished nets, added to and read again")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--finished", action="store_true", help="report on what is kept, train nothing")
    parser.add_argument("--note", default="", help="what a reader of the record must know")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    whole = {"named": named_jobs(), "grid": grid_jobs(asked.grid), "odd": drawn_jobs(asked.odd)}
    jobs = {name: made for part in whole.values() for name, made in part.items()}
    which, of = (int(part) for part in asked.shard.split("/"))
    with tempfile.TemporaryDirectory() as folder:
        keep = asked.keep or Path(folder) / "grid.jsonl"
        if not asked.finished:
            collect(jobs, dataset_of(asked.data, asked.rows, Path(folder) / "rows"), keep, (which, of))
        parts = {key_of(made): part for part, made_of in whole.items() for made in made_of.values()}
        lines = [again(line) for line in read(keep) if line["key"] in parts]
    if of > 1:
        return
    report = {
        **circumstances(asked.threads),
        "note": asked.note,
        "rows": asked.rows,
        "seeds": {"jobs": 0, "grid": 2006, "odd": 2026},
        **summary(lines, parts),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "diagnosis.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("shares", "misses")}, indent=1))


if __name__ == "__main__":
    main()
