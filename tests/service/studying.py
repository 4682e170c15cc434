"""Studies as a client submits them; a worker's part is played by what a worker calls in the store."""

from __future__ import annotations

from typing import Any

from store import JobRow, Jobs
from tests.service.conftest import Door

BASE: dict[str, Any] = {
    "dataset": "blobs",
    "code": 2,
    "architecture": {"name": "dense", "widths": [8]},
    "init": "he_normal",
    "training": {"epochs": 4, "early_stopping": None},
}
GRID: dict[str, list[Any]] = {
    "init": ["he_normal", {"name": "normal", "std": 0.01}],
    "architecture.activation": ["tanh", "sigmoid"],
}
STUDY: dict[str, Any] = {"base": BASE, "grid": GRID, "seeds": [0, 1]}
PATH = "/v1/studies"


def submit(door: Door, **more: Any) -> dict[str, Any]:
    answer = door.post(PATH, json={**STUDY, **more})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    return dict(answer.json())


def claim(door: Door) -> JobRow | None:
    with door.store.transaction() as session:
        return Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)


def error_of(row: JobRow, epoch: int) -> float:
    """What a training of this kind might show: sigmoid with tiny weights stays at the mean's error."""
    assert row.study_place is not None
    cell, seed = row.study_place["values"], row.study_place["seed"]
    if cell["architecture.activation"] == "sigmoid" and cell["init"] != "he_normal":
        return 8.0
    floor = 2.0 if cell["architecture.activation"] == "tanh" else 3.0
    return floor + 6.0 / (epoch + 1) + 0.01 * int(seed)


def work(door: Door, row: JobRow) -> None:
    """Train a claimed job to its end, or to where it waits for its study, as a worker tells of it."""
    assert row.study_place is not None
    began = int(row.progress.get("epoch") or 0)
    pause = row.study_place["pause_epochs"]
    last = pause or row.spec["training"]["epochs"]
    told = [
        (
            "epoch",
            {"epoch": epoch, "step": 10 * epoch, "error": error_of(row, epoch), "loss": 1.0, "seconds": 0.1},
        )
        for epoch in range(began + 1, last + 1)
    ]
    metrics = {"error": error_of(row, last), "loss": 1.0}
    with door.store.transaction() as session:
        jobs = Jobs(session)
        jobs.record(
            row.id,
            row.token,
            events=told,
            progress={"epoch": last, "epochs": row.spec["training"]["epochs"], "step": 10 * last},
            metrics=metrics,
            baselines={"mean": 8.0, "pca": 2.5},
        )
        if pause is None:
            jobs.finish(row.id, row.token, "succeeded", ended="epochs", metrics=metrics)
        else:
            jobs.pause(row.id, row.token)


def work_off(door: Door) -> int:
    """How many attempts it took until nothing waits."""
    attempts = 0
    while (row := claim(door)) is not None:
        work(door, row)
        attempts += 1
    return attempts


def jobs_of(door: Door, study: dict[str, Any]) -> list[dict[str, Any]]:
    return list(door.get(study["links"]["jobs"]).json()["items"])
