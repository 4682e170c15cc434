"""A study's trainings in real children: they wait at their rung, and go on as if they never had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from autoencoders.bundle import BundleManifest
from autoencoders.data.dataset import Dataset
from autoencoders.events import Epoch
from autoencoders.experiment import Experiment
from autoencoders.training.state import Progress
from store import JobRow, JobState, Models, Studies, StudyRow
from tests.worker.house import House
from tests.worker.jobs import digits, small
from worker.attempt import read_spec
from worker.pausing import Paused, Rung
from worker.record import Record
from worker.settling import FILE

RACE: Sequence[Mapping[str, int | None]] = (
    {"epochs": 2, "seconds": None, "keep": 1},
    {"epochs": 4, "seconds": None, "keep": None},
)


def _study(
    house: House,
    dataset: str,
    rates: list[float],
    *,
    keep: str = "winner",
    rungs: Sequence[Mapping[str, int | None]] = RACE,
    body: Mapping[str, Any] | None = None,
) -> StudyRow:
    body = body or small(epochs=4)
    cells = [
        {
            "cell": {"optimizer.learning_rate": rate},
            "job": {**body, "optimizer": {"name": "adam", "learning_rate": rate}},
            "pretraining": 0.0,
            "pauses": [None if rung["keep"] is None else rung["epochs"] for rung in rungs],
        }
        for rate in rates
    ]
    budget = {"epochs": body["training"]["epochs"]}
    plan = {"cells": cells, "skipped": [], "seeds": [7], "budget": budget, "rungs": [*rungs]}
    with house.store.transaction() as session:
        return Studies(session).create(
            document={"keep_models": keep},
            plan=plan,
            dataset_id=dataset,
            dataset_name="rows",
            model="rows-code",
            labels={},
            device="cpu",
        )


def _follow(house: House) -> JobRow:
    """The next job after one attempt at it."""
    job = house.claim()
    house.watch().follow(job)
    return house.row(job)


def _hold(house: House, job: JobRow, *, held: bool) -> None:
    with house.store.transaction() as session:
        session.get_one(JobRow, job.id).held = held


def test_the_winner_of_a_race_has_the_weights_of_a_training_that_never_paused(house: House) -> None:
    dataset = digits(house)
    made = _study(house, dataset, [1e-3, 1e-5])
    first = _follow(house)
    assert (first.state, first.held, first.progress["epoch"]) == (JobState.QUEUED, True, 2)
    epochs = [event.data["error"] for event in house.events(first, "epoch")]
    assert first.metrics["error"] == min(epochs)
    assert first.metrics["init_seconds"] >= 0

    # Killed between its checkpoint and its row: the next attempt pauses where it stands, before any step.
    _hold(house, first, held=False)
    again = _follow(house)
    assert (again.id, again.held, again.metrics["error"]) == (first.id, True, first.metrics["error"])
    assert [event.data["error"] for event in house.events(again, "epoch")] == epochs

    second = _follow(house)
    assert (second.state, second.progress["epoch"]) == (JobState.CANCELLED, 2)
    over = _follow(house)
    assert (over.id, over.state, over.ended) == (first.id, JobState.SUCCEEDED, "epochs")
    assert over.progress["epoch"] == 4
    with house.store.session() as session:
        assert Studies(session).get(made.id).state is JobState.SUCCEEDED
        winner = Models(session).resolve("rows-code")
        winning, losing = Studies(session).outcomes(made.id)
    assert winner.job_id == over.id
    assert [point["epoch"] for point in winning["curve"]] == [1, 2, 3, 4]
    assert [point["epoch"] for point in losing["curve"]] == [1, 2]
    assert (winning["raced_out"], losing["raced_out"]) == (False, True)
    assert winning["diagnosis"]["verdict"]
    assert winning["init_seconds"] == over.metrics["init_seconds"]

    plain = _plain(house, over)
    assert plain.metrics.error == over.metrics["error"]
    assert plain.weights_sha256 == winner.weights_sha256


def _plain(house: House, job: JobRow) -> BundleManifest:
    """The model of the same spec, trained here without a pause."""
    files = house.store.artifacts.local_copy(f"datasets/{job.dataset_id}")
    experiment = Experiment(read_spec(job.spec), Dataset.open(files), threads=1, diagnose=False)
    for _ in experiment.run():
        pass
    return experiment.save(house.settings.home / "plain")


def test_a_pretraining_that_was_chosen_is_part_of_its_budget(house: House) -> None:
    dataset = digits(house)
    net = {"name": "dense", "widths": [16], "code": 4, "activation": "sigmoid"}
    body = {**small(epochs=6), "architecture": net, "init": "auto"}
    rungs = ({"epochs": 3, "seconds": None, "keep": 1}, {"epochs": 6, "seconds": None, "keep": None})
    made = _study(house, dataset, [1e-3], rungs=rungs, body=body)
    job = house.claim()
    chosen = {"name": "rbm_stack", "epochs": 1}
    evidence = {"auto": {"chosen": chosen}, "learning_rate": None}
    kept = {"init": chosen, "learning_rate": 1e-3, "evidence": evidence, "seconds": 1.0}
    house.store.artifacts.write(f"jobs/{job.id}/checkpoints/{FILE}", json.dumps(kept).encode())

    # Two layers, a pass over the rows for each: a third epoch's rung comes after one of training.
    house.watch().follow(job)
    waiting = house.row(job)
    assert (waiting.state, waiting.progress["epoch"], waiting.progress["epochs"]) == (JobState.QUEUED, 1, 4)
    assert waiting.metrics["pretraining"] == 2.0
    over = _follow(house)
    assert (over.state, over.progress["epoch"], over.ended) == (JobState.SUCCEEDED, 4, "epochs")
    with house.store.session() as session:
        (outcome,) = Studies(session).outcomes(made.id)
        spec = Models(session).resolve("rows-code").manifest["spec"]
    assert (outcome["pretraining"], len(outcome["curve"])) == (2.0, 4)
    assert (spec["init"]["name"], spec["training"]["epochs"]) == ("rbm_stack", 4)


def test_where_no_model_of_a_study_is_kept_its_files_are_not_stored(house: House) -> None:
    _study(house, digits(house), [1e-3], keep="none", rungs=RACE[1:])
    over = _follow(house)
    assert (over.state, over.model_version) == (JobState.SUCCEEDED, None), over.problem
    assert not house.store.artifacts.exists(f"models/{over.id}")
    assert house.store.artifacts.exists(f"jobs/{over.id}/report.json")


@pytest.mark.parametrize("keep", ["none", "winner", "all"])
def test_a_study_s_model_is_registered_at_once_only_where_all_are_kept(keep: str, house: House) -> None:
    with house.store.transaction() as session:
        Models(session).register(name="rows-code", job_id=None, dataset_id=None, manifest={})
    made = _study(house, house.dataset(), [1e-3, 1e-4], keep=keep, rungs=RACE[1:])
    for version in (2, 3):
        job = house.claim()
        record = Record(house.store, job, patience_seconds=1.0)
        assert record.keeps_model is (keep != "none")
        manifest, metrics = {"weights_sha256": "ab"}, {"error": 5.0 - version}
        record.succeed(lines=[], progress=None, ended="epochs", metrics=metrics, manifest=manifest)
        assert house.row(job).model_version == (version if keep == "all" else None) or version == 3
        assert house.row(job).manifest == (manifest if keep == "winner" and version == 2 else None)
    with house.store.session() as session:
        assert Studies(session).get(made.id).state is JobState.SUCCEEDED
        assert Models(session).resolve("rows-code").version == {"none": 1, "winner": 2, "all": 3}[keep]
        assert Models(session).resolve("rows-code").job_id == (None if keep == "none" else job.id)


def _row(place: dict[str, Any], **metrics: float) -> JobRow:
    return JobRow(study_place=place, spec=small(epochs=9), metrics=metrics)


def _epoch(epoch: int, seconds: float = 0.0, epochs: int = 9) -> Epoch:
    rest = {"step": 1, "train_loss": 1.0, "loss": 1.0, "error": 1.0, "best": True, "learning_rate": 1.0}
    return Epoch(epoch=epoch, epochs=epochs, seconds=seconds, rows_per_second=1.0, **rest)  # type: ignore[arg-type]


def test_a_rung_by_epochs_is_due_at_its_epoch_and_never_after_the_last() -> None:
    rung = Rung(_row({"pause_epochs": 3, "pause_seconds": None}))
    assert [rung.is_due(_epoch(epoch)) for epoch in (1, 2, 3)] == [False, False, True]
    assert rung.reached
    assert not rung.is_due(_epoch(3, epochs=3))
    assert rung.was_due(Progress(epoch=3))
    assert not rung.was_due(Progress(epoch=2))
    assert not rung.was_due(Progress(epoch=9)), "a training that is through has only to be published"
    assert not rung.was_due(Progress(epoch=3, batch=1))


def test_a_rung_by_time_counts_the_initialisation() -> None:
    rung = Rung(_row({"pause_epochs": None, "pause_seconds": 10.0}))
    rung.init_seconds = 4.0
    assert [rung.is_due(_epoch(1, seconds)) for seconds in (5.9, 6.1)] == [False, True]
    assert rung.was_due(Progress(epoch=1, seconds=6.1, prior_seconds=4.0))
    assert not rung.was_due(Progress(epoch=1, seconds=6.1, prior_seconds=3.0))
    assert rung.init_seconds == 3.0
    rung.settling_seconds = 1.0
    assert rung.was_due(Progress(epoch=1, seconds=6.1, prior_seconds=3.0)), "choosing counts too"


@pytest.mark.parametrize("place", [{}, {"pause_epochs": None, "pause_seconds": None}])
def test_a_training_without_a_rung_never_waits(place: dict[str, Any]) -> None:
    rung = Rung(_row(place))
    assert not rung.is_due(_epoch(8, 1e9))
    assert not rung.was_due(Progress(epoch=8, seconds=1e9))


def test_an_error_that_is_no_number_is_kept_as_none() -> None:
    assert Paused(Progress(epoch=1)).metrics == {"error": None, "loss": None}
    assert Paused(Progress(epoch=1, best_error=2.0, best_loss=3.0)).metrics == {"error": 2.0, "loss": 3.0}
