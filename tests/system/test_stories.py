"""Whole stories over real HTTP, Celery and Valkey; faults come as signals from outside."""

from __future__ import annotations

import io
import signal
from itertools import islice
from typing import Any

import numpy as np
import psutil
import pytest

from tests.system.house import House, eventually

pytestmark = pytest.mark.system

LONG: dict[str, Any] = {"training": {"epochs": 100_000, "batch_size": 64, "early_stopping": None}}
"""A job that is still running whenever a test looks."""

MIDDLING: dict[str, Any] = {
    "architecture": {"name": "dense", "widths": [256, 128]},
    "training": {"epochs": 60, "batch_size": 32, "seed": 7, "early_stopping": None},
}
"""A job of some seconds."""


def test_a_model_is_trained_and_encodes(house: House) -> None:
    job = house.finished(house.submit(model="first", training={"epochs": 3}))
    assert job["state"] == "succeeded", job
    assert job["ended"] == "epochs"
    assert job["progress"]["epoch"] == 3
    assert job["model"]["name"] == "first"
    model = house.get("/v1/models/first")
    assert len(model["weights_sha256"]) == 64
    rows = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 64)
    spoken = house.client.post("/v1/models/first/encode", json={"inputs": rows.tolist()})
    assert spoken.status_code == 200, spoken.text
    body = io.BytesIO()
    np.save(body, rows)
    npy = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    packed = house.client.post("/v1/models/first/encode", content=body.getvalue(), headers=npy)
    assert packed.status_code == 200, packed.text
    codes = np.load(io.BytesIO(packed.content), allow_pickle=False)
    assert codes.shape == (2, 4)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(
        np.array(spoken.json()["codes"], dtype=np.float32), codes, rtol=1e-5, atol=1e-6
    )


def test_a_cancelled_job_is_over_and_leaves_no_model(house: House) -> None:
    job = house.submit(model="never", **LONG)
    house.in_mid_training(job)
    trainer = _trainer(house)
    assert house.client.post(f"/v1/jobs/{job}/cancel").status_code in (200, 202)
    assert house.finished(job)["state"] == "cancelled"
    assert not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE, (
        "cancelled is said of a dead process"
    )
    assert house.client.get("/v1/models/never").status_code == 404


def test_a_stopped_job_publishes_its_best_weights(house: House) -> None:
    job = house.submit(model="stopped", **LONG)
    house.in_mid_training(job)
    assert house.client.post(f"/v1/jobs/{job}/stop").status_code in (200, 202)
    over = house.finished(job)
    assert (over["state"], over["ended"]) == ("succeeded", "stopped")
    assert house.get("/v1/models/stopped")["version"] == 1


def test_a_job_whose_worker_is_killed_ends_with_the_weights_of_an_undisturbed_one(house: House) -> None:
    calm = house.finished(house.submit(model="calm", **MIDDLING))
    assert calm["state"] == "succeeded", calm
    job = house.submit(model="hurt", **MIDDLING)
    house.in_mid_training(job, epochs=5)
    [worker] = [each for each in house.workers() if each["job"] == job]
    main = psutil.Process(worker["pid"])
    for process in [*main.children(recursive=True), main]:
        process.send_signal(signal.SIGKILL)
    hurt = house.finished(job)
    assert hurt["state"] == "succeeded", hurt
    assert hurt["attempts"] == 2
    assert house.get("/v1/models/hurt")["weights_sha256"] == house.get("/v1/models/calm")["weights_sha256"]
    numbers = [event.number for event in house.events(job)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_worker_that_is_asked_to_end_hands_its_job_back(house: House) -> None:
    job = house.submit(model="handed-back", **MIDDLING)
    house.in_mid_training(job, epochs=3)
    [worker] = [each for each in house.workers() if each["job"] == job]
    main = psutil.Process(worker["pid"])
    main.send_signal(signal.SIGTERM)
    eventually(
        lambda: not main.is_running() or main.status() == psutil.STATUS_ZOMBIE,
        "the worker to leave",
        seconds=15,
    )
    over = house.finished(job)
    assert over["state"] == "succeeded", over
    moves = [event.data["state"] for event in house.events(job) if event.kind == "state"]
    assert moves == ["queued", "running", "queued", "running", "succeeded"]
    epochs = [event.data["epoch"] for event in house.events(job) if event.kind == "epoch"]
    assert epochs == sorted(epochs), "it went on from its checkpoint"


def test_a_killed_broker_is_back_and_work_goes_on(house: House) -> None:
    broker = house.broker()
    broker.send_signal(signal.SIGKILL)
    job = house.submit(model="after-the-broker", training={"epochs": 2})
    eventually(lambda: (parts := house.parts()) and not parts["broker"], "the broker to be started again")
    assert house.broker().pid != broker.pid
    assert house.finished(job)["state"] == "succeeded"


def test_a_job_is_accepted_while_the_broker_does_not_answer_and_runs_once_it_does(house: House) -> None:
    broker = house.broker()
    broker.send_signal(signal.SIGSTOP)
    try:
        job = house.submit(model="frozen-broker", training={"epochs": 2})
        parts = eventually(lambda: _parts_without_broker(house), "the broker to be missed")
        assert not parts["database"]
    finally:
        broker.send_signal(signal.SIGCONT)
    assert house.finished(job)["state"] == "succeeded"


def test_an_event_stream_that_is_cut_goes_on_with_nothing_lost_or_doubled(house: House) -> None:
    job = house.submit(model="streamed", **MIDDLING)
    stream = house.events(job)
    seen = list(islice(stream, 4))
    stream.close()
    while seen[-1].kind != "done":
        stream = house.events(job, after=seen[-1].number)
        seen += list(islice(stream, 5))
        stream.close()
    assert [event.number for event in seen] == list(range(1, len(seen) + 1))
    assert seen == list(house.events(job)), "a finished job replays the same events and ends"
    last = seen[-1].number
    again = house.client.get(
        f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": str(last)}
    )
    assert again.status_code == 204


def test_a_spec_with_a_wrong_word_is_refused_at_its_field(house: House) -> None:
    said = house.client.post("/v1/jobs", json={"dataset": "digits", "code": 4, "init": {"name": "ortogonal"}})
    assert said.status_code == 422
    assert said.headers["content-type"].startswith("application/problem+json")
    problem = said.json()
    assert any("init" in error["loc"] and "orthogonal" in error["msg"] for error in problem["errors"]), (
        problem
    )
    assert "Traceback" not in said.text


def _parts_without_broker(house: House) -> dict[str, Any] | None:
    parts = house.parts()
    return parts if parts is not None and parts["broker"] else None


def _trainer(house: House) -> psutil.Process:
    [child] = [each for each in house.worker().children(recursive=True) if "worker.run" in each.cmdline()]
    return child
