"""Submitting studies: what is taken, refused, left out, repeated and listed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from autoencoders.study import PRESETS
from store import WorkerFacts, Workers
from tests.service.conftest import Door, Opens, issue
from tests.service.studying import BASE, GRID, PATH, STUDY, jobs_of, submit


def test_a_study_becomes_jobs_on_the_queue(served: Door) -> None:
    study = submit(served, labels={"team": "vision"})
    assert (study["kind"], study["state"], study["cells"], study["skipped"]) == ("study", "queued", 4, [])
    assert study["dataset"]["name"] == study["model"] == "blobs"
    assert study["progress"]["jobs"] == 8
    assert study["progress"]["epochs"] == 8 * 4
    assert served.get(study["links"]["report"]).status_code == 200
    jobs = served.get(study["links"]["jobs"]).json()["items"]
    assert len(jobs) == 8
    assert {(job["study"]["cell"]["architecture.activation"], job["study"]["seed"]) for job in jobs} == {
        (activation, seed) for activation in ("tanh", "sigmoid") for seed in (0, 1)
    }
    for job in jobs:
        assert job["study"]["id"] == study["id"]
        assert job["spec"]["training"]["seed"] == job["study"]["seed"]
        assert job["links"]["study"] == f"{PATH}/{study['id']}"
        assert (
            job["spec"]["architecture"]["activation"]["name"]
            == job["study"]["cell"]["architecture.activation"]
        )
    assert served.get("/v1/jobs?study=study_none").json()["items"] == []


def test_the_answer_shows_every_default(served: Door) -> None:
    study = submit(served, seeds=None, base={**BASE, "training": {"epochs": 4, "seed": 7}})
    assert study["seeds"] == [7]
    assert study["budget"] == {"epochs": 4, "seconds": None}
    assert study["preset"] is None
    defaults = {"learning_rate": "fixed", "racing": False, "unfit": "refuse", "keep_models": "winner"}
    assert {name: study[name] for name in defaults} == defaults
    assert study["grid"] == GRID


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_study(serving: Door, preset: str) -> None:
    body = {"base": {"dataset": "digits", "code": 8}, "preset": preset, "seeds": [0, 1]}
    answer = serving.post(f"{PATH}?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["jobs"] == 2 * len(told["cells"]) > 8


WRONG: list[tuple[dict[str, Any], list[str | int]]] = [
    ({"base": {**BASE, "dataset": "nobody"}}, ["base", "dataset"]),
    ({"base": {"code": 2}}, ["base", "dataset"]),
    ({"base": {**BASE, "trainning": {}}}, ["base", "trainning"]),
    ({"base": {**BASE, "labels": {"a": 1}}}, ["base", "labels", "a"]),
    ({"base": {**BASE, "optimizer": {"name": "adam", "learning_rate": 0}}}, ["base", "optimizer"]),
    ({"base": {**BASE, "align_to": "nobody"}}, ["base", "align_to"]),
    ({"grid": {"init": ["he_normal", "orthogonul"]}}, ["grid", "init", "1"]),
    ({"grid": {"architecture.wide": [1, 2]}}, ["grid", "architecture.wide"]),
    ({"grid": {"architecture.wide.deep": [1, 2]}}, ["grid", "architecture.wide.deep"]),
    ({"grid": {"init.foo.bar": [1]}}, ["grid", "init.foo.bar"]),
    ({"grid": {"dataset": ["digits"]}}, ["grid", "dataset"]),
    ({"labels": {"a": "x" * 300}}, ["labels"]),
    ({"grid": {"init": []}}, ["grid", "init"]),
    ({"grid": {"init": ["he_normal", {"name": "rbm_stack", "epochs": 4}]}}, ["grid", "init", "1"]),
    (
        {"grid": {"init": ["he_normal", {"name": "model", "source": "nobody"}]}},
        ["grid", "init", "1", "source"],
    ),
    ({"grid": None, "preset": "everything"}, ["preset"]),
    ({"preset": "inits"}, ["grid"]),
    ({"grid": None}, ["grid"]),
    ({"seeds": [1, 1]}, ["seeds"]),
    ({"seeds": [-1]}, ["seeds", 0]),
    ({"seeds": list(range(100)), "grid": {"training.batch_size": list(range(1, 12))}}, ["grid"]),
    ({"budget": {"epochs": 3, "seconds": 2}}, ["budget"]),
    ({"budget": {"epochs": 0}}, ["budget", "epochs"]),
    ({"learning_rate": "free"}, ["learning_rate"]),
    ({"keep_models": "some"}, ["keep_models"]),
    ({"model": "a b"}, ["model"]),
    ({"cells": 3}, ["cells"]),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_a_wrong_study_is_refused_at_its_field(
    serving: Door, more: dict[str, Any], place: list[str | int]
) -> None:
    answer = serving.post(PATH, json={**STUDY, **more})
    assert answer.status_code == 422, answer.text
    places = [error["loc"] for error in answer.json()["errors"]]
    assert place in [found[: len(place)] for found in places], answer.json()
    assert serving.get(PATH).json()["items"] == []


def test_a_reserved_name_is_refused(serving: Door) -> None:
    for more in ({"model": "stats"}, {"base": {**BASE, "model": "stats"}}):
        answer = serving.post(PATH, json={**STUDY, **more})
        assert answer.status_code == 422
        assert "reserved" in answer.text


def test_cells_that_cannot_be_built_are_left_out_where_that_is_asked(served: Door) -> None:
    grid = {"init": ["he_normal", "delta_orthogonal"]}
    refused = served.post(PATH, json={**STUDY, "grid": grid})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"][:3] == ["grid", "init", "1"]
    study = submit(served, grid=grid, unfit="skip")
    assert study["cells"] == 1
    (skipped,) = study["skipped"]
    assert skipped["cell"] == {"init": "delta_orthogonal"}
    assert skipped["why"]


def test_earlier_models_are_settled_cell_by_cell(served: Door) -> None:
    base = {"dataset": "digits", "code": 4, "architecture": {"name": "dense", "widths": [16]}}
    grid = {"init": ["he_normal", {"name": "model", "source": "digits-code"}]}
    study = submit(served, base=base, grid=grid, seeds=[0])
    inits = {job["spec"]["init"]["name"]: job["spec"]["init"] for job in jobs_of(served, study)}
    assert inits["model"]["source"] == "digits-code@2"
    assert served.delete("/v1/models/digits-code@2").status_code == 409
    other = {"name": "dense_residual", "width": 16, "blocks": 1, "code": 4}
    both = {**grid, "architecture": [base["architecture"], other]}
    answer = served.post(PATH, json={"base": base, "grid": both})
    assert answer.json()["errors"][0]["loc"] == ["grid", "init", "1", "source"]
    assert submit(served, base=base, grid=both, unfit="skip")["cells"] == 3


def test_a_dry_run_queues_nothing(serving: Door) -> None:
    told = serving.post(f"{PATH}?dry_run=true", json={**STUDY, "budget": {"epochs": 8}}).json()
    assert [cell["cell"] for cell in told["cells"]] == [
        {"init": init, "architecture.activation": activation}
        for init in GRID["init"]
        for activation in GRID["architecture.activation"]
    ]
    assert told["jobs"] == 8
    assert told["cells"][0]["job"]["training"]["epochs"] == 8
    assert told["cells"][0]["parameters"] > 50
    assert told["memory_bytes"] == max(cell["memory_bytes"] for cell in told["cells"])
    assert told["seconds"] == pytest.approx(2 * sum(cell["seconds"] for cell in told["cells"]))
    timed = serving.post(f"{PATH}?dry_run=true", json={**STUDY, "budget": {"seconds": 5}}).json()
    assert timed["seconds"] == 8 * 5
    assert serving.get(PATH).json()["items"] == serving.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("wrong", [{"labels": {"": "x"}}, {"base": {**BASE, "labels": {"a": "x" * 300}}}])
def test_a_dry_run_refuses_what_a_submission_refuses(serving: Door, wrong: dict[str, Any]) -> None:
    dry, real = (serving.post(f"{PATH}{query}", json={**STUDY, **wrong}) for query in ("?dry_run=true", ""))
    assert (dry.status_code, real.status_code) == (422, 422)
    assert dry.json()["detail"] == real.json()["detail"]


def test_without_room_on_the_disk_no_study_is_taken(opens: Opens) -> None:
    with opens(free_disk_floor_bytes=2**60) as full:
        body = {**STUDY, "base": {**BASE, "dataset": "digits"}}
        assert full.post(PATH, json=body).status_code == 507
        assert full.get(PATH).json()["items"] == []


def test_racing_is_estimated_at_under_a_third(serving: Door) -> None:
    def seconds(*, racing: bool) -> float:
        body = {"base": {"dataset": "digits", "code": 8}, "preset": "inits-x-activations", "racing": racing}
        told = serving.post(f"{PATH}?dry_run=true", json=body).json()
        assert len(told["cells"]) == 24
        return float(told["seconds"])

    assert seconds(racing=True) < seconds(racing=False) / 3


def test_a_repeated_submit_gives_the_first_answer(served: Door) -> None:
    headers = {"Idempotency-Key": "k"}
    first = served.post(PATH, json=STUDY, headers=headers)
    again = served.post(PATH, json=dict(reversed(STUDY.items())), headers=headers)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(served.get(PATH).json()["items"]) == 1
    assert served.post(PATH, json={**STUDY, "seeds": [0]}, headers=headers).status_code == 409


def test_a_repeated_submit_gives_the_first_answer_when_its_dataset_is_gone(served: Door) -> None:
    rows = "a,b\n" + "\n".join(f"{n},{n * n % 7}" for n in range(40))
    uploaded = {"content": rows, "headers": {"Content-Type": "text/csv"}}
    assert served.post("/v1/datasets?name=mine", **uploaded).status_code == 201
    study = {"base": {**BASE, "dataset": "mine", "code": 1}, "grid": GRID}
    job = {"dataset": "mine", "code": 1}
    sent: dict[str, dict[str, Any]] = {PATH: study, "/v1/jobs": job}
    first = {path: _repeatable(served, path, body) for path, body in sent.items()}
    for answer in first.values():
        assert answer.status_code == 202, answer.text
        served.post(f"{answer.headers['location']}/cancel")
    assert served.delete("/v1/datasets/mine").status_code == 204
    for path, body in sent.items():
        again = _repeatable(served, path, body)
        assert (again.status_code, again.content) == (202, first[path].content)
        assert again.headers["idempotent-replayed"] == "true"
        assert _repeatable(served, path, {**body, "labels": {"a": "b"}}).status_code == 409
        assert served.post(path, json=body).status_code == 422


def _repeatable(door: Door, path: str, body: dict[str, Any]) -> httpx.Response:
    return door.post(path, json=body, headers={"Idempotency-Key": path})


def test_studies_are_listed_newest_first_and_filtered(served: Door) -> None:
    studies = [submit(served, labels={"n": str(n)}, seeds=[n]) for n in range(3)]
    listed = served.get(f"{PATH}?limit=2").json()
    rest = served.get(f"{PATH}?limit=2&after={listed['next']}").json()
    found = [item["id"] for item in listed["items"] + rest["items"]]
    assert found == [study["id"] for study in reversed(studies)]

    def ids_of(query: str) -> list[str]:
        return [item["id"] for item in served.get(f"{PATH}?{query}").json()["items"]]

    assert ids_of("label=n:1") == [studies[1]["id"]]
    assert len(ids_of("dataset=blobs")) == 3
    assert ids_of("dataset=digits") == ids_of("state=running") == []
    assert served.get(f"{PATH}?state=asleep").status_code == 422


def test_auto_goes_to_a_gpu_where_a_worker_has_one(served: Door) -> None:
    with served.store.transaction() as session:
        Workers(session).beat(WorkerFacts("w", "h", 1, "gpu", "0"), "idle")
    study = submit(served)
    assert study["device"] == "gpu"
    assert {job["device"] for job in jobs_of(served, study)} == {"gpu"}
    assert submit(served, base={**BASE, "device": "cpu"})["device"] == "cpu"


def test_only_who_may_train_may_change_studies(guarded: Door) -> None:
    reader = issue(guarded, "read")
    assert guarded.get(PATH, headers=reader).status_code == 200
    assert guarded.post(PATH, json=STUDY, headers=reader).status_code == 403
    for action in ("cancel", "resume"):
        assert guarded.post(f"{PATH}/study_none/{action}", headers=reader).status_code == 403
    assert guarded.delete(f"{PATH}/study_none", headers=reader).status_code == 403
