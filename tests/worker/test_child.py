"""The child run for real: what is published, what is refused, and how it ends when it is asked to."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from typing import Any

import pytest

from autoencoders.training.state import STATE_FILE
from service.report_page import render
from store import JobRow, JobState, ModelRow, Models
from tests.worker.house import House, child_of, until
from tests.worker.jobs import digits, endless, small
from worker import exits
from worker.watch import child_command


@pytest.fixture
def dataset(house: House) -> str:
    return digits(house)


def model_of(house: House, job: JobRow) -> ModelRow:
    row = house.row(job)
    with house.store.session() as session:
        return Models(session).resolve(f"{row.model}@{row.model_version}")


def run(house: House, spec: dict[str, Any], dataset: str, **settings: Any) -> JobRow:
    """The row of a job after one attempt."""
    house.submit(spec, dataset=dataset)
    job = house.claim()
    house.watch(**settings).follow(job)
    return house.row(job)


def checkpoints(house: House, job: JobRow) -> list[str]:
    names = house.store.artifacts.list(f"jobs/{job.id}/checkpoints")
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def test_a_job_that_succeeds_has_a_model_a_report_and_every_event_in_order(
    house: House, dataset: str
) -> None:
    row = run(house, small(), dataset)
    assert row.state is JobState.SUCCEEDED, row.problem
    assert (row.ended, row.model_version, row.progress["epoch"]) == ("epochs", 1, 3)
    assert row.baselines is not None
    assert row.baselines["pca"] < row.baselines["mean"]

    model = model_of(house, row)
    weights = house.store.artifacts.read(f"{model.artifact}/weights.safetensors")
    assert hashlib.sha256(weights).hexdigest() == model.weights_sha256
    assert model.error == row.metrics["error"]
    assert model.labels == {"team": "a"}

    events = house.events(row)
    assert [event.number for event in events] == list(range(1, row.events + 1))
    kinds = [event.type for event in events]
    assert kinds[-2:] == ["state", "done"]
    assert kinds.count("epoch") == 3
    assert kinds.count("diagnosis") == 1
    first_step = min(kinds.index(kind) for kind in ("step", "epoch") if kind in kinds)
    assert kinds.index("init") < kinds.index("diagnosis") < first_step
    assert events[-1].data["model"] == {"name": "rows-code", "version": 1}
    assert not list((house.settings.home / "tmp").rglob("*.*"))
    _check_report(house, row)


def _check_report(house: House, row: JobRow) -> None:
    report = json.loads(house.store.artifacts.read(f"jobs/{row.id}/report.json"))
    assert report["error"] == row.metrics["error"]
    assert report["error_per_feature"] == pytest.approx(row.metrics["error"] / 64)
    assert sum(item["error"] for item in report["features"]) == pytest.approx(report["error"], rel=1e-4)
    assert report["baselines"] == row.baselines
    assert [point["epoch"] for point in report["curves"]] == [1, 2, 3]
    assert len(report["gallery"]["inputs"]) == len(report["gallery"]["reconstructions"]) == 16
    assert report["gallery"]["shape"] == [8, 8]
    assert len(report["code_map"]["points"]) == len(report["code_map"]["rows"])
    worst = [item["error"] for item in report["worst_rows"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] == max(report["code_map"]["errors"])
    assert report["history"][0]["data"] == {"state": "queued"}
    (told,) = house.events(row, "diagnosis")
    before, after = report["diagnosis"]["before"], report["diagnosis"]["after"]
    assert before == told.data["diagnosis"]
    assert before["verdict"]["outlook"] in ("learns", "slow", "stuck", "diverges")
    assert [layer["name"] for layer in before["layers"]] == [layer["name"] for layer in after["layers"]]
    # Training has changed what it is measured on, and nothing is forecast of what is over.
    assert after["losses"]["start"] < before["losses"]["start"]
    assert after["trial"] is None
    assert after["verdict"] is None
    page = render(row.id, "rows-code", 1, report)
    assert "Layers after training" in page
    assert "encoder.0" in page


def test_a_spec_that_cannot_be_built_fails_at_its_field(house: House, dataset: str) -> None:
    spec = small()
    spec["architecture"]["output"] = "linear"
    row = run(house, {**spec, "objective": {"loss": "bce"}}, dataset)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "spec-refused"
    assert row.problem["errors"][0]["loc"] == ["objective", "loss"]
    assert not house.events(row, "epoch")


def test_a_training_that_diverges_fails_with_its_reason(house: House, dataset: str) -> None:
    row = run(house, {**small(), "optimizer": {"name": "sgd", "learning_rate": 1e6}}, dataset)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "training-diverged"
    assert row.problem["reason"]
    assert "trace" not in row.problem
    assert [event.type for event in house.events(row)][-2:] == ["state", "done"]


def test_a_job_that_needs_more_memory_than_there_is_fails_before_its_first_step(
    house: House, dataset: str
) -> None:
    row = run(house, small(), dataset, memory_limit_bytes=10_000)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "no-room"
    assert "GB" in row.problem["detail"]
    assert not house.events(row, "step") + house.events(row, "epoch") + house.events(row, "init")


def test_a_job_begins_with_an_earlier_model_s_weights(house: House, dataset: str) -> None:
    first = run(house, small(), dataset)
    spec = {**small(epochs=1), "init": {"name": "model", "source": "rows-code@1"}}
    second = run(house, spec, dataset)
    assert second.state is JobState.SUCCEEDED, second.problem
    assert second.model_version == 2
    (weights,) = [event.data for event in house.events(second, "init") if event.data["part"] == "weights"]
    assert weights["detail"]["source"] == "rows-code@1"
    assert set(weights["detail"]["layers"].values()) == {"kept"}
    # An epoch of a fresh start is far from where three epochs had come.
    assert second.metrics["error"] < 1.05 * first.metrics["error"]


def test_a_job_whose_earlier_model_is_gone_fails_with_its_name(house: House, dataset: str) -> None:
    run(house, small(), dataset)
    house.submit({**small(), "init": {"name": "model", "source": "rows-code@1"}}, dataset=dataset)
    with house.store.session() as session:
        artifact = Models(session).resolve("rows-code@1").artifact
    house.store.artifacts.remove(artifact)
    job = house.claim()
    house.watch().follow(job)
    row = house.row(job)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "earlier-model-gone"
    assert "rows-code@1" in row.problem["detail"]
    assert "trace" not in row.problem


def test_an_exception_that_nobody_foresaw_fails_the_job_with_a_short_trace(
    house: House, dataset: str
) -> None:
    house.store.artifacts.remove(f"datasets/{dataset}")
    row = run(house, small(), dataset)
    assert row.state is JobState.FAILED
    assert row.problem is not None
    assert row.problem["type"] == "artifact-missing"
    assert "worker/attempt.py:" in row.problem["trace"]
    assert str(house.settings.home) not in row.problem["trace"]


def test_a_cancelled_job_publishes_nothing_and_goes_on_from_its_last_whole_checkpoint_when_resumed(
    house: House, dataset: str
) -> None:
    house.submit(endless(), dataset=dataset)
    job = house.claim()
    following = house.follow(job)
    until(lambda: len(house.events(job, "checkpoint")) > 3)
    child = child_of(job)
    assert child is not None
    house.cancel(job)
    until(lambda: house.row(job).state is JobState.CANCELLED)
    assert not child.is_running()
    assert following.outcome() == "cancelled"
    assert not house.store.artifacts.exists(f"models/{job.id}")

    *_, before, newest = checkpoints(house, job)
    file = house.store.artifacts.local_copy(f"jobs/{job.id}/checkpoints/{newest}/{STATE_FILE}")
    file.write_bytes(file.read_bytes()[:-100])
    house.resume(job)
    job = house.claim()
    house.stop(job)
    assert house.watch().follow(job) == "succeeded"
    assert house.row(job).ended == "stopped"
    messages = [event.data.get("message") for event in house.events(job, "log")]
    assert f"going on from step {before.split('.')[1]}" in messages


def test_a_stopped_job_publishes_its_best_weights(house: House, dataset: str) -> None:
    house.submit(endless(), dataset=dataset)
    job = house.claim()
    following = house.follow(job)
    until(lambda: house.events(job, "epoch"))
    house.stop(job)
    assert following.outcome() == "succeeded"
    row = house.row(job)
    assert row.ended == "stopped"
    best = min(event.data["error"] for event in house.events(job, "epoch"))
    assert model_of(house, row).error == pytest.approx(min(best, row.metrics["error"]))


def test_a_job_killed_half_way_ends_with_the_very_weights_of_one_left_alone(
    house: House, dataset: str
) -> None:
    spec = small(epochs=120)
    alone = run(house, spec, dataset)
    assert alone.state is JobState.SUCCEEDED, alone.problem

    house.submit({**spec, "promote": "never"}, dataset=dataset)
    job = house.claim()
    following = house.follow(job)
    until(lambda: house.events(job, "checkpoint"))
    child = child_of(job)
    assert child is not None
    child.send_signal(signal.SIGKILL)
    assert following.outcome() == "lost"
    lost = house.row(job)
    assert (lost.state, lost.lost, lost.attempts) == (JobState.QUEUED, 1, 1)
    newest = int(checkpoints(house, job)[-1].split(".")[1])
    assert 0 < newest < 120 * 26

    job = house.claim()
    assert house.watch().follow(job) == "succeeded"
    events = house.events(job)
    steps = [event.data["step"] for event in events if event.number > lost.events and "step" in event.data]
    assert min(steps) >= newest
    disturbed = house.row(job)
    assert model_of(house, disturbed).weights_sha256 == model_of(house, alone).weights_sha256
    assert disturbed.metrics["error"] == alone.metrics["error"]
    report = json.loads(house.store.artifacts.read(f"jobs/{job.id}/report.json"))
    assert [point["epoch"] for point in report["curves"]] == list(range(1, 121))
    # It was diagnosed once, before the first step of all.
    (told,) = house.events(job, "diagnosis")
    assert told.number < lost.events
    assert report["diagnosis"]["before"] == told.data["diagnosis"]
    with house.store.session() as session:
        assert (disturbed.model_version, Models(session).resolve("rows-code").version) == (2, 1)


def test_a_job_that_begins_anew_tells_its_diagnosis_once(house: House, dataset: str) -> None:
    house.submit(endless(batch_size=2), dataset=dataset)
    job = house.claim()
    following = house.follow(job, checkpoint_seconds=3600.0)
    until(lambda: house.events(job, "step"))
    child = child_of(job)
    assert child is not None
    child.send_signal(signal.SIGKILL)
    assert following.outcome() == "lost"
    assert not checkpoints(house, job)

    following = house.follow(house.claim())
    until(lambda: [event for event in house.events(job, "step") if event.number > house.row(job).events - 3])
    house.stop(job)
    assert following.outcome() == "succeeded"
    assert len(house.events(job, "diagnosis")) == 1
    assert len(house.events(job, "init")) == 2


def test_a_job_that_will_get_nowhere_is_warned_of_with_cause_and_cure(house: House, dataset: str) -> None:
    spec = small(epochs=2)
    spec["architecture"] |= {"widths": [64, 64], "activation": "sigmoid"}
    spec["init"] = {"name": "normal", "std": 0.01, "output_bias": "mean"}
    spec["optimizer"] = {"name": "sgd", "learning_rate": 0.001}
    row = run(house, spec, dataset)
    assert row.state is JobState.SUCCEEDED, row.problem
    (told,) = house.events(row, "diagnosis")
    verdict = told.data["diagnosis"]["verdict"]
    assert verdict["outlook"] in ("stuck", "diverges")
    (warning,) = house.events(row, "warning")
    assert warning.number == told.number + 1
    for words in (verdict["outlook"], verdict["cause"], verdict["cure"]):
        assert words in warning.data["message"]


def test_a_worker_that_leaves_keeps_a_checkpoint_of_the_very_step(house: House, dataset: str) -> None:
    house.submit(endless(batch_size=2), dataset=dataset)
    job = house.claim()
    following = house.follow(job, checkpoint_seconds=3600.0)
    until(lambda: house.events(job, "step"))
    assert not checkpoints(house, job)
    following.stopping.set()
    assert following.outcome() == "given_back"
    (event,) = house.events(job, "checkpoint")
    assert checkpoints(house, job) == [f"1.{event.data['step']}"]
    assert event.data["step"] >= max(step.data["step"] for step in house.events(job, "step"))

    job = house.claim()
    assert job.attempts == 1
    following = house.follow(job, checkpoint_seconds=3600.0)
    until(lambda: [step for step in house.events(job, "step") if step.number > event.number])
    house.cancel(job)
    assert following.outcome() == "cancelled"
    later = [step.data["step"] for step in house.events(job, "step") if step.number > event.number]
    assert min(later) > event.data["step"]


def test_a_zombie_is_fenced_off_and_writes_nothing(house: House, dataset: str) -> None:
    """A child without a parent that would kill it, whose job somebody else has by now."""
    house.submit(endless(), dataset=dataset)
    job = house.claim()
    environment = dict(house.watch()._environment())
    with subprocess.Popen(child_command(job), env=environment, stdin=subprocess.DEVNULL) as zombie:
        until(lambda: house.events(job, "checkpoint"))
        zombie.send_signal(signal.SIGSTOP)
        house.ledger.given_back(job)
        other = house.claim()
        before, kept = house.row(job), checkpoints(house, job)
        zombie.send_signal(signal.SIGCONT)
        assert zombie.wait(60) == exits.FENCED
    after = house.row(job)
    assert after.token == other.token
    assert (after.events, after.revision, after.progress) == (before.events, before.revision, before.progress)
    # One that it was writing when it was stopped may have been finished, under its own token.
    assert {name.split(".")[0] for name in checkpoints(house, job)} == {str(job.token)}
    assert len(checkpoints(house, job)) <= len(kept) + 1
    assert not house.store.artifacts.exists(f"models/{job.id}")
