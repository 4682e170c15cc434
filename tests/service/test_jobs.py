from __future__ import annotations

from typing import Any

import pytest

from autoencoders import Spec
from store import Jobs, JobState, WorkerFacts, Workers
from tests.service.conftest import Door

SMALL = {"dataset": "digits", "code": 8}


def _submit(door: Door, **more: Any) -> dict[str, Any]:
    answer = door.post("/v1/jobs", json={**SMALL, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def _claim(door: Door) -> tuple[str, int]:
    with door.store.transaction() as session:
        row = Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)
        assert row is not None
        return row.id, row.token


def _finish(door: Door, state: str, **more: Any) -> None:
    job, token = _claim(door)
    with door.store.transaction() as session:
        Jobs(session).finish(job, token, state, **more)


def test_the_smallest_job_is_accepted_without_a_broker(served: Door) -> None:
    answer = served.post("/v1/jobs", json=SMALL)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["dataset"]["name"] == "digits"
    assert job["model"] == {"name": "digits", "version": None}
    assert job["progress"] == {
        "epoch": 0,
        "epochs": 50,
        "step": 0,
        "rows": None,
        "rows_total": None,
        "rows_per_second": None,
        "seconds_left": None,
        "position": 1,
    }
    assert served.get(answer.headers["location"]).json() == job


def test_the_answer_shows_every_default(served: Door) -> None:
    spec = _submit(served, init="he_normal")["spec"]
    assert spec["architecture"]["name"] == "dense"
    assert spec["architecture"]["code"] == {"name": "plain", "size": 8}
    assert len(spec["architecture"]["widths"]) == 3
    assert spec["architecture"]["output"] == "sigmoid"
    assert spec["objective"]["loss"]["name"] == "bce"
    assert spec["scaling"]["name"] == "none"
    assert spec["training"] == {
        "epochs": 50,
        "batch_size": 256,
        "seed": 0,
        "early_stopping": {"patience": 10},
        "max_seconds": None,
        "precision": "float32",
        "clip_norm": None,
    }
    assert (spec["dataset"], spec["model"], spec["promote"], spec["labels"]) == (
        "digits",
        "digits",
        "always",
        {},
    )
    Spec.model_validate({key: value for key, value in spec.items() if key in Spec.model_fields})


def test_the_full_spec_is_a_body_to_submit_again(served: Door) -> None:
    first = _submit(served)
    answer = served.post("/v1/jobs", json=first["spec"])
    assert answer.status_code == 202, answer.text
    assert answer.json()["spec"] == first["spec"]


def test_what_may_not_be_registered_is_refused(served: Door) -> None:
    for model in ("stats", "a b", "-x", "a" * 65, "../up"):
        answer = served.post("/v1/jobs", json={**SMALL, "model": model})
        assert answer.status_code == 422, model
        assert "model" in answer.text


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"dataset": "nobody"}, ["dataset"]),
    ({"init": "orthogonul"}, ["init"]),
    ({"init": {"encoder": "auto"}}, ["init", "encoder"]),
    ({"init": {"name": "auto", "budget": 2}}, ["init", "auto", "budget"]),
    ({"optimizer": {"name": "adam", "learning_rate": 0}}, ["optimizer", "adam", "learning_rate"]),
    ({"objective": {"loss": "bce"}, "scaling": "standard"}, ["objective", "loss"]),
    ({"training": {"epochs": 0}}, ["training", "epochs"]),
    ({"trainning": {}}, ["trainning"]),
    ({"align_to": "digits@1"}, ["align_to"]),
    ({"labels": {"a": 1}}, ["labels", "a"]),
    ({"promote": "sometimes"}, ["promote"]),
    ({"device": "tpu"}, ["device"]),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_a_wrong_job_is_refused_at_its_field(serving: Door, more: dict[str, Any], place: list[str]) -> None:
    for query in ("", "?dry_run=true"):
        answer = serving.post(f"/v1/jobs{query}", json={**SMALL, **more})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["loc"][: len(place)] == place
    assert serving.get("/v1/jobs").json()["items"] == []


def test_a_label_that_is_none_is_refused_by_a_dry_run_too(serving: Door) -> None:
    body = {**SMALL, "labels": {"": "x"}}
    dry, real = (serving.post(f"/v1/jobs{query}", json=body) for query in ("?dry_run=true", ""))
    assert (dry.status_code, real.status_code) == (422, 422)
    assert dry.json()["detail"] == real.json()["detail"]


def test_a_dry_run_queues_nothing(serving: Door) -> None:
    answer = serving.post("/v1/jobs?dry_run=true", json=SMALL)
    assert answer.status_code == 200
    told = answer.json()
    assert told["parameters"] > 1000
    assert told["memory_bytes"] > 4 * told["parameters"]
    assert told["seconds"] > 0
    assert told["spec"]["objective"]["loss"]["name"] == "bce"
    assert serving.get("/v1/jobs").json()["items"] == []


def test_an_init_that_a_job_leaves_out_is_chosen_by_trying(served: Door) -> None:
    left_out = {"name": "auto", "budget": 0.05, "output_bias": "zero", "centre": False}
    assert _submit(served)["spec"]["init"] == _submit(served, init="auto")["spec"]["init"] == left_out
    told = served.post("/v1/jobs?dry_run=true", json=SMALL).json()
    assert told["spec"]["init"] == left_out
    # Starts are compared side by side, and each is trained for a while.
    plain = served.post("/v1/jobs?dry_run=true", json={**SMALL, "init": "he_normal"}).json()
    assert told["memory_bytes"] > plain["memory_bytes"]
    assert told["seconds"] > plain["seconds"]


def test_a_repeated_submit_gives_the_first_answer(served: Door) -> None:
    headers = {"Idempotency-Key": "k"}
    first = served.post("/v1/jobs", json=SMALL, headers=headers)
    again = served.post("/v1/jobs", json=dict(reversed(SMALL.items())), headers=headers)
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(served.get("/v1/jobs").json()["items"]) == 1
    assert served.post("/v1/jobs", json={**SMALL, "code": 9}, headers=headers).status_code == 409


def test_a_refused_job_frees_its_key(served: Door) -> None:
    headers = {"Idempotency-Key": "k"}
    assert served.post("/v1/jobs", json={**SMALL, "dataset": "nobody"}, headers=headers).status_code == 422
    assert served.post("/v1/jobs", json=SMALL, headers=headers).status_code == 202


def test_auto_goes_to_a_gpu_where_a_worker_has_one(served: Door) -> None:
    assert _submit(served)["device"] == "cpu"
    with served.store.transaction() as session:
        Workers(session).beat(WorkerFacts("w", "h", 1, "gpu", "0"), "idle")
    assert _submit(served)["device"] == "gpu"
    assert _submit(served, device="cpu")["device"] == "cpu"


def test_jobs_are_listed_newest_first_and_filtered(served: Door) -> None:
    jobs = [_submit(served, model=f"m{n}", labels={"n": str(n)}) for n in range(3)]
    listed = served.get("/v1/jobs?limit=2").json()
    rest = served.get(f"/v1/jobs?limit=2&after={listed['next']}").json()
    found = [item["id"] for item in listed["items"] + rest["items"]]
    assert found == [job["id"] for job in reversed(jobs)]

    def ids_of(query: str) -> list[str]:
        return [item["id"] for item in served.get(f"/v1/jobs?{query}").json()["items"]]

    assert ids_of("label=n:1") == [jobs[1]["id"]]
    assert ids_of("model=m2") == [jobs[2]["id"]]
    assert len(ids_of("dataset=digits")) == 3
    assert ids_of("dataset=blobs") == []
    assert ids_of("state=running") == []
    assert served.get("/v1/jobs?state=asleep").status_code == 422


def test_a_job_has_an_etag_that_changes_with_it(served: Door) -> None:
    job = _submit(served)
    path = f"/v1/jobs/{job['id']}"
    tag = served.get(path).headers["etag"]
    assert served.get(path, headers={"If-None-Match": f'"x", {tag}'}).status_code == 304
    _claim(served)
    assert served.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_a_queued_job_is_cancelled_at_once(served: Door) -> None:
    job = _submit(served)
    answer = served.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelled"
    assert served.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202


def test_a_running_job_is_asked_to_cancel_or_stop(served: Door) -> None:
    job = _submit(served)
    assert served.post(f"/v1/jobs/{job['id']}/stop").status_code == 409
    _claim(served)
    stopped = served.post(f"/v1/jobs/{job['id']}/stop").json()
    assert (stopped["state"], stopped["asked"]) == ("running", "stop")
    cancelled = served.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert (cancelled["state"], cancelled["asked"]) == ("running", "cancel")


def test_a_failed_job_says_why_and_can_be_resumed(served: Door) -> None:
    job = _submit(served)
    _finish(served, "failed", problem={"type": "TrainingDiverged", "message": "it ran away"})
    path = f"/v1/jobs/{job['id']}"
    failed = served.get(path).json()
    assert failed["state"] == "failed"
    assert failed["problem"]["message"] == "it ran away"
    resumed = served.post(f"{path}/resume")
    assert resumed.status_code == 202
    assert resumed.json()["state"] == "queued"
    assert resumed.json()["progress"]["position"] == 1
    assert served.post(f"{path}/resume").status_code == 409


def test_a_job_that_is_over_can_be_removed(served: Door) -> None:
    job = _submit(served)
    path = f"/v1/jobs/{job['id']}"
    assert served.delete(path).status_code == 409
    _finish(served, "succeeded", ended="epochs", metrics={"error": 1.0, "loss": 2.0}, model_version=7)
    done = served.get(path).json()
    assert done["model"] == {"name": "digits", "version": 7}
    assert done["ended"] == "epochs"
    assert served.delete(path).status_code == 204
    assert served.get(path).status_code == 404


@pytest.mark.parametrize("path", ["", "/events", "/report"])
def test_an_unknown_job_is_not_found(serving: Door, path: str) -> None:
    assert serving.get(f"/v1/jobs/job_none{path}").status_code == 404


def test_the_request_id_is_kept_with_the_job(served: Door) -> None:
    job = served.post("/v1/jobs", json=SMALL, headers={"X-Request-ID": "trace-me"}).json()
    with served.store.session() as session:
        row = Jobs(session).get(job["id"])
    assert row.request_id == "trace-me"
    assert row.state is JobState.QUEUED
