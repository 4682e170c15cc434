"""Did the deep net of 2006 need its pretraining, and does it still? The preset, as a client asks for it.

    hourglass up                                        (elsewhere)
    python benchmarks/classic_2006.py --data mnist.npz [--seeds 0 1 2] [--epochs 20] [--rows 60000]

Uploads the images, submits one study of the preset `classic-2006`, waits for its end, and saves what the
service answers: `classic-2006.json` and `classic-2006.html`, the page as it stands. Nothing here computes:
whatever the figures are, they are the service's own. A run that was broken off goes on with `--study`. A
house with keys is shown the one in `HOURGLASS_ADMIN_KEY`.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

OVER = ("succeeded", "failed", "cancelled")
HELD_OUT = "held-out"


def upload(house: httpx.Client, name: str, images: np.ndarray, holdout: str | None = None) -> str:
    """A dataset of these images [n, 28, 28] of bytes; its id."""
    body = io.BytesIO()
    np.save(body, images)
    query = {"name": name} if holdout is None else {"name": name, "holdout": holdout}
    headers = {"Content-Type": "application/x-npy"}
    answer = house.post("/v1/datasets", params=query, content=body.getvalue(), headers=headers, timeout=600)
    return str(answer.raise_for_status().json()["id"])


def upload_all(house: httpx.Client, data: Path, name: str, rows: int | None) -> str:
    """The archive's `x_train`, or the first rows of it, with its `x_test` as the held-out rows."""
    with np.load(data, allow_pickle=False) as archive:
        training = archive["x_train"].reshape(-1, 28, 28)[:rows]
        held_out = archive["x_test"].reshape(-1, 28, 28)
    other = upload(house, f"{name}-{HELD_OUT}", held_out)
    return upload(house, name, training, f'{{"dataset": "{other}"}}')


def submitted(house: httpx.Client, dataset: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The study, as it was accepted."""
    body = {
        "base": {
            "dataset": dataset,
            "code": 30,
            **({"architecture": {"name": "dense", "widths": asked.widths}} if asked.widths else {}),
            "training": {"batch_size": asked.batch_size},
        },
        "preset": "classic-2006",
        "seeds": asked.seeds,
        "budget": {"epochs": asked.epochs},
        "learning_rate": asked.learning_rate,
        "racing": asked.racing,
        "keep_models": "winner",
        "model": "classic-2006",
    }
    study: dict[str, Any] = house.post("/v1/studies", json=body).raise_for_status().json()
    return study


def followed(house: httpx.Client, study: str, write: Callable[[str], None], seconds: float) -> dict[str, Any]:
    """The study when it is over, told of now and then; a house that is away for a moment is asked again."""
    while True:
        try:
            now: dict[str, Any] = house.get(f"/v1/studies/{study}").raise_for_status().json()
        except httpx.TransportError as error:
            write(f"the house does not answer: {error}")
            time.sleep(seconds)
            continue
        if now["state"] in OVER:
            return now
        progress, best = now["progress"], now["best"]
        told = [f"{now['state']}: {progress['jobs_over']} of {progress['jobs']} jobs over"]
        told += [f"{unit} {progress[unit]} of {progress[f'{unit}s']}" for unit in ("epoch", "rung")]
        told += [f"best {best['error']:.4g} {best['cell']}"] if best else []
        write(", ".join(told))
        time.sleep(seconds)


def save(house: httpx.Client, study: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The report as JSON and as a page, written as they came; the report."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, accept in (("json", "application/json"), ("html", "text/html")):
        answer = house.get(study["links"]["report"], headers={"Accept": accept}).raise_for_status()
        (folder / f"classic-2006.{name}").write_bytes(answer.content)
    report: dict[str, Any] = house.get(study["links"]["report"]).json()
    return report


def main(write: Callable[[str], None] = print) -> None:
    """Have a running house do the study, and keep its report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of a running house")
    parser.add_argument("--data", type=Path, help="an npz with x_train and x_test of 28x28 bytes")
    parser.add_argument("--rows", type=int, help="the first so many training images alone")
    parser.add_argument("--dataset", help="the id or name of images that the house has already")
    parser.add_argument("--study", help="the id of a study that runs already: only wait and save")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20, help="of every cell, its pretraining counted")
    parser.add_argument("--widths", type=int, nargs="+", help="another net than 1000 500 250")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", choices=("fixed", "trial", "range_test"), default="fixed")
    parser.add_argument("--racing", action="store_true")
    parser.add_argument("--look", type=float, default=30.0, help="seconds between two looks")
    parser.add_argument("--folder", type=Path, default=Path("docs/studies"))
    asked = parser.parse_args()
    key = os.environ.get("HOURGLASS_ADMIN_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=asked.url, headers=headers, timeout=60) as house:
        study = asked.study
        if study is None:
            if asked.dataset is None and asked.data is None:
                raise SystemExit("--data or --dataset: which images?")
            dataset = asked.dataset or upload_all(house, asked.data, "mnist", asked.rows)
            study = submitted(house, dataset, asked)["id"]
            write(f"submitted {study}")
        over = followed(house, study, write, asked.look)
        report = save(house, over, asked.folder)
        write(f"{over['state']}: {report['advice']}")


if __name__ == "__main__":
    main()
