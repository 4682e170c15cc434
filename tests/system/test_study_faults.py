"""A study whose worker is killed shows what an undisturbed one shows: the same figures, to the last bit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoencoders.data.dataset import Dataset
from autoencoders.data.options import ReadOptions
from autoencoders.data.samples import samples, write_sample
from autoencoders.study import Study
from tests.system.house import House, eventually

pytestmark = pytest.mark.system

BASE: dict[str, Any] = {
    "code": 4,
    "architecture": {"name": "dense", "widths": [192, 96]},
    "init": "he_normal",
    "training": {"epochs": 18, "batch_size": 16, "seed": 7, "early_stopping": None},
}
GRID: dict[str, list[Any]] = {"optimizer.learning_rate": [1e-5, 1e-3, 1e-4, 3e-3]}

# Of a report: which rows it was made of, and where the winner is kept.
OF_ITS_OWN = ("study", "job", "jobs", "attempts", "model", "recommended")


def _over(house: House, study: str) -> dict[str, Any]:
    states = ("succeeded", "failed", "cancelled")
    return eventually(
        lambda: found if (found := house.get(f"/v1/studies/{study}"))["state"] in states else None,
        f"{study} to end",
        seconds=150,
    )


def _kill_its_worker(house: House, job: str) -> None:
    """Kill whoever trains this job, as soon as a checkpoint of it is there: long before its rung."""
    kept = house.home / "artifacts" / "jobs" / job / "checkpoints"
    eventually(lambda: list(kept.glob("1.*/state.json")), f"a checkpoint of {job}", seconds=120)
    [worker] = [each for each in house.workers() if each["job"] == job]
    main = psutil.Process(worker["pid"])
    for process in [*main.children(recursive=True), main]:
        process.send_signal(signal.SIGKILL)


def _figures(part: Any) -> Any:
    """A report without what may differ: times, and which job it was."""
    if isinstance(part, dict):
        return {
            key: _figures(value)
            for key, value in part.items()
            if "seconds" not in key and key not in OF_ITS_OWN
        }
    return [_figures(item) for item in part] if isinstance(part, list) else part


def _undisturbed(folder: Path) -> dict[str, Any]:
    """The report of the same study, trained in this process without a queue."""
    write_sample(samples.choose("digits"), folder, ReadOptions(name="digits"))
    study = Study(BASE, Dataset.open(folder), grid=GRID, seeds=[7], racing=True, threads=1)
    for _ in study.run():
        pass
    return study.report()


def test_a_study_whose_worker_is_killed_reports_what_an_undisturbed_one_does(
    house: House, tmp_path: Path
) -> None:
    body = {"base": {**BASE, "dataset": "digits"}, "grid": GRID, "racing": True, "model": "raced"}
    said = house.client.post("/v1/studies", json=body)
    assert said.status_code == 202, said.text
    study = said.json()["id"]
    jobs = [job["id"] for job in reversed(house.get(f"/v1/jobs?study={study}")["items"])]
    _kill_its_worker(house, jobs[1])
    over = _over(house, study)
    assert over["state"] == "succeeded", over

    attempts = [house.job(job)["attempts"] for job in jobs]
    assert attempts == [1, 2, 1, 1]
    report = house.get(f"/v1/studies/{study}/report")
    assert report["complete"]
    assert _figures(report) == _figures(_undisturbed(tmp_path / "digits"))
    assert [line["raced_out"] for line in report["ranking"]] == [False, False, True, True]
    best = jobs[GRID["optimizer.learning_rate"].index(report["best"]["cell"]["optimizer.learning_rate"])]
    assert house.job(best)["model"] == {"name": "raced", "version": 1}
    assert [row["version"] for row in house.get("/v1/models/raced/versions")["items"]] == [1]
