"""Jobs that begin with an earlier model's weights: found at submission, pinned, and kept while needed."""

from __future__ import annotations

from typing import Any

import pytest

from store import Jobs
from tests.service.conftest import Door

BODY: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"name": "dense", "widths": [16], "code": 4},
}


def submit(door: Door, init: Any, **more: Any) -> dict[str, Any]:
    answer = door.post("/v1/jobs", json={**BODY, "init": init, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def begin_with(source: str) -> dict[str, str]:
    return {"name": "model", "source": source}


def test_a_source_is_pinned_to_the_version_that_it_means_now(served: Door) -> None:
    served.put("/v1/models/digits-code/aliases/best", json={"version": 1})
    for source, exact in (
        ("digits-code", "digits-code@2"),
        ("digits-code@1", "digits-code@1"),
        ("digits-code@best", "digits-code@1"),
    ):
        job = submit(served, begin_with(source))
        assert job["spec"]["init"]["source"] == exact
    served.post("/v1/models/digits-code/promote", json={"version": 1})
    assert served.get(f"/v1/jobs/{job['id']}").json()["spec"]["init"]["source"] == "digits-code@1"


def test_a_dry_run_shows_the_version(served: Door) -> None:
    answer = served.post("/v1/jobs?dry_run=true", json={**BODY, "init": begin_with("digits-code")})
    assert answer.status_code == 200
    assert answer.json()["spec"]["init"]["source"] == "digits-code@2"


def test_every_part_of_a_plan_is_pinned(served: Door) -> None:
    plan = {
        "encoder": begin_with("digits-code"),
        "code": "orthogonal",
        "layers": {"decoder.0": begin_with("digits-code@1")},
    }
    init = submit(served, plan)["spec"]["init"]
    assert init["encoder"]["source"] == "digits-code@2"
    assert init["layers"]["decoder.0"]["source"] == "digits-code@1"
    assert init["code"]["name"] == "orthogonal"


@pytest.mark.parametrize("source", ["nobody", "digits-code@9", "digits-code@nobody"])
def test_a_source_that_is_not_there_is_refused_at_its_place(served: Door, source: str) -> None:
    answer = served.post("/v1/jobs", json={**BODY, "init": begin_with(source)})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"][-2:] == ["init", "source"]
    assert source in error["msg"]
    nested = served.post("/v1/jobs", json={**BODY, "init": {"layers": {"code": begin_with(source)}}})
    assert nested.json()["errors"][0]["loc"][-4:] == ["init", "layers", "code", "source"]


def test_a_source_of_another_architecture_is_refused_with_the_reason(served: Door) -> None:
    body = {**BODY, "architecture": {"name": "dense_residual", "width": 16, "blocks": 1, "code": 4}}
    answer = served.post("/v1/jobs", json={**body, "init": begin_with("digits-code")})
    assert answer.status_code == 422
    assert "whose layers are not those of dense_residual" in answer.json()["errors"][0]["msg"]


def test_a_model_is_not_removed_while_a_job_needs_it(served: Door) -> None:
    job = submit(served, {"encoder": begin_with("digits-code@1")})
    for name in ("digits-code@1", "digits-code"):
        answer = served.delete(f"/v1/models/{name}")
        assert answer.status_code == 409
        assert job["id"] in answer.text
    assert served.get("/v1/models/digits-code@1").status_code == 200
    assert served.delete("/v1/models/digits-code@2").status_code == 204
    assert served.post(f"/v1/jobs/{job['id']}/cancel").status_code == 202
    assert served.delete("/v1/models/digits-code@1").status_code == 204


def test_a_label_that_reads_like_a_source_keeps_no_model(served: Door) -> None:
    submit(served, "he_normal", labels={"from": "digits-code@1"})
    assert served.delete("/v1/models/digits-code@1").status_code == 204


def test_a_model_removed_between_look_and_queue_is_missed(served: Door) -> None:
    job = submit(served, begin_with("digits-code@1"))
    served.post(f"/v1/jobs/{job['id']}/cancel")
    served.delete("/v1/models/digits-code@1")
    with served.store.session() as session:
        row = Jobs(session).get(job["id"])
    from store import NotFound

    with pytest.raises(NotFound, match="digits-code@1"), served.store.transaction() as session:
        Jobs(session).create(
            kind="train",
            spec=row.spec,
            dataset_id=row.dataset_id,
            dataset_name=row.dataset_name,
            model=None,
            labels={},
            device="cpu",
        )
