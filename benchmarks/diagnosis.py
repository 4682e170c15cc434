"""How often a verdict is right: a grid of nets is diagnosed, then trained to the horizon of its forecast.

    python benchmarks/diagnosis.py --data mnist.npz [--small 100] [--rows 3000] [--keep grid.jsonl]

Every net is a job like any other: its diagnosis comes from the `Diagnosed` event, the truth from the held-out
error after min(900, its own number of) steps of 200 rows. The jobs are drawn from init x activation x depth x
norm x optimizer with a fixed seed, and with them stand the nets that vocabulary and docs speak of, at MNIST's
size. The rule of `autoencoders/diagnostics/outlook.py` was set on the half of them whose hash is even; what
counts is the other half. `--keep` is a file to which finished nets are added and from which they are read
again; `--shard 0/2` trains every other one of them, so that two processes can share the work.
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
from benchmarks.forecast_nets import BATCH, drawn_jobs, named_jobs
from benchmarks.records import RESULTS, circumstances

HORIZON = 900
HELD_OUT = 1000


def key_of(made: dict[str, Any]) -> str:
    """The hash by which a net is found again, and by which its half is chosen."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def unused(key: str) -> bool:
    """Whether the rule was set without this net."""
    return int(key, 16) % 2 == 1


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


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of right verdicts in both halves, and every miss of the unused one."""
    halves: dict[str, Counter[str]] = {"setting": Counter(), "unused": Counter()}
    misses, table = [], []
    for line in lines:
        half = "unused" if unused(line["key"]) else "setting"
        outlook, closed = truth(line)
        said = line["diagnosis"]["verdict"]
        halves[half]["nets"] += 1
        halves[half]["right"] += outlook == said["outlook"]
        halves[half][outlook] += 1
        row = {
            "name": line["name"],
            "half": half,
            "closed": round(closed, 3) if np.isfinite(closed) else None,
            "outcome": outlook,
            "outlook": said["outlook"],
            "cause": said["cause"],
            "diagnosis_seconds": round(line["diagnosis"]["seconds"], 1),
        }
        table.append(row)
        if half == "unused" and outlook != said["outlook"]:
            misses.append(row)
    shares = {half: {**count, "share_right": round(count["right"] / max(1, count["nets"]), 3)}
              for half, count in halves.items()}  # fmt: skip
    return {"halves": shares, "misses_of_the_unused_half": misses, "nets": table}


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
    parser.add_argument("--small", type=int, default=100, help="how many drawn nets besides the named ones")
    parser.add_argument("--keep", type=Path, help="a file of finished nets, added to and read again")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--finished", action="store_true", help="report on what is kept, train nothing")
    parser.add_argument("--note", default="", help="what a reader of the record must know")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    jobs = {**drawn_jobs(asked.small), **named_jobs()}
    which, of = (int(part) for part in asked.shard.split("/"))
    with tempfile.TemporaryDirectory() as folder:
        keep = asked.keep or Path(folder) / "grid.jsonl"
        if not asked.finished:
            collect(jobs, dataset_of(asked.data, asked.rows, Path(folder) / "rows"), keep, (which, of))
        known = {key_of(made) for made in jobs.values()}
        lines = [again(line) for line in read(keep) if line["key"] in known]
    if of > 1:
        return
    report = {
        **circumstances(asked.threads),
        "note": asked.note,
        "rows": asked.rows,
        "seeds": {"jobs": 0, "grid": 2026},
        **summary(lines),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "diagnosis.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("halves", "misses_of_the_unused_half")}, indent=1))


if __name__ == "__main__":
    main()
