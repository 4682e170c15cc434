from __future__ import annotations

from typing import Any

import pytest

from autoencoders.errors import DataRefused
from service import problems
from service.serving.errors import BadTensor
from store.errors import Conflict
from tests.service.conftest import Door

TRIES = [
    ("GET", "/v1/nothing", {}, 404),
    ("PATCH", "/v1/jobs", {}, 405),
    ("GET", "/v1/jobs/job_none", {}, 404),
    ("GET", "/v1/jobs?limit=0", {}, 422),
    ("GET", "/v1/jobs?after=nonsense", {}, 422),
    ("GET", "/v1/jobs?label=novalue", {}, 422),
    ("POST", "/v1/jobs", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ("POST", "/v1/jobs", {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 422),
    ("POST", "/v1/jobs", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 422),
    ("POST", "/v1/jobs", {"json": {}}, 422),
    ("POST", "/v1/keys", {"json": {"name": "", "scopes": ["all"]}}, 422),
    ("GET", "/v1/models/none", {}, 404),
    ("POST", "/v1/models/none/encode", {"json": {"inputs": [[1]]}}, 404),
    ("GET", "/v1/catalog/verbs", {}, 404),
    ("POST", "/v1/models/none/encode", {"content": b"x", "headers": {"Content-Type": "text/x-none"}}, 415),
    ("POST", "/v1/models/none/encode", {"json": {}, "headers": {"Accept": "text/html"}}, 406),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), TRIES)
def test_every_error_is_a_problem(
    door: Door, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = door.request(method, path, **options)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    problems.Problem.model_validate(document)
    assert document["status"] == status
    assert document["instance"] == path.partition("?")[0]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text


def test_a_wrong_field_is_pointed_at(door: Door) -> None:
    body = {"dataset": "digits", "code": 8, "optimizer": {"name": "adam", "learning_rate": -1}}
    document = door.post("/v1/jobs", json=body).json()
    assert document["errors"][0]["loc"] == ["optimizer", "adam", "learning_rate"]
    assert "greater than 0" in document["errors"][0]["msg"]


def test_a_number_that_is_none_is_refused(door: Door) -> None:
    content = b'{"dataset": "digits", "code": 8, "training": {"clip_norm": NaN}}'
    answer = door.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_an_unexpected_error_says_nothing_of_its_cause(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("the secret cause")

    door.app.add_api_route("/v1/broken", broken)
    answer = door.get("/v1/broken", headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "find-me" == answer.headers["x-request-id"]
    assert "secret" not in answer.text


def test_a_place_in_the_data_is_pointed_at() -> None:
    scope = {"path": "/v1/datasets", "state": {"request_id": "r"}}
    body = problems.answer(scope, DataRefused("is ragged", row=3, column="age")).body
    assert b'"loc":["row",3,"column","age"]' in body
    assert b'"loc":["inputs",2,5]' in problems.answer(scope, BadTensor("is odd", row=2, column=5)).body


def test_a_childs_line_is_its_parents_where_it_has_none() -> None:
    class Special(Conflict):
        pass

    assert problems.kind_of(Special("x")).status == 409
    assert problems.kind_of(RuntimeError("x")).status == 500


def test_overload_says_when_to_come_back() -> None:
    from service.errors import Busy

    assert problems.answer({}, Busy("later")).headers["retry-after"] == "1"
