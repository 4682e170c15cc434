from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, TypeAdapter

from service import openapi
from service.app import assemble
from service.problems import ALL_KINDS, MEDIA_TYPE, Problem
from service.routes.datasets import Source
from service.routes.inference_wire import Rows, ScoredRows
from service.settings import ServiceSettings
from tests.service.conftest import Door

APP = assemble(ServiceSettings(_env_file=None))
DOCUMENT: dict[str, Any] = json.loads(openapi.text())
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def _models() -> Iterator[type[BaseModel]]:
    """Every wire model of the routes, bodies and answers, those within others too."""
    found: dict[str, type[BaseModel]] = {
        model.__name__: model for model in (Problem, Source, Rows, ScoredRows)
    }

    def look(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if annotation.__name__ in found:
                return
            found[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                look(field.annotation)
        for inner in getattr(annotation, "__args__", ()):
            look(inner)

    for context in iter_route_contexts(APP.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            look(route.response_model)
            for entry in route.responses.values():
                look(entry.get("model"))
            if route.body_field is not None:
                look(route.body_field.field_info.annotation)
    yield from found.values()


EXAMPLES = [
    (model, example)
    for model in _models()
    for example in TypeAdapter(model).json_schema().get("examples", [])
]


def test_there_are_examples() -> None:
    told = {model.__name__ for model, _ in EXAMPLES}
    assert {
        "JobRequest",
        "JobView",
        "StudyRequest",
        "StudyView",
        "StudyDryRun",
        "DatasetView",
        "ModelView",
        "Rows",
        "Codes",
        "Scores",
        "Problem",
    } <= told


@pytest.mark.parametrize(("model", "example"), EXAMPLES, ids=[model.__name__ for model, _ in EXAMPLES])
def test_every_example_validates(model: type[BaseModel], example: dict[str, Any]) -> None:
    read = model.model_validate(example)
    shown = read.model_dump(mode="json")
    if model.__module__.startswith("service") and model.__name__ not in (
        "JobRequest",
        "StudyRequest",
        "Source",
    ):
        assert set(example) <= set(shown), "an example shows a field that the model lacks"


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_every_route_is_described(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"], "a route's docstring is its description"
    assert operation["tags"]
    for status, answer in operation["responses"].items():
        if int(status) >= 400 and not name.endswith("/health/ready"):
            said = "application/json" if " /v2" in name else MEDIA_TYPE
            assert list(answer["content"]) == [said]
    if "/v1/" in name:
        assert {"401", "403"} <= set(operation["responses"])
        assert operation["security"]
    if name.startswith(("POST /v1/jobs", "POST /v1/studies", "PUT")) and not name.endswith(
        ("cancel", "stop", "resume")
    ):
        assert operation["requestBody"]


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in DOCUMENT["components"]["schemas"]


def test_the_document_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_PORT", "1234")
    assert openapi.text() == json.dumps(DOCUMENT, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_gateway_serves_the_document(serving: Door) -> None:
    assert serving.get("/openapi.json").json() == DOCUMENT


def test_problem_types_are_said_alike() -> None:
    titles: dict[str, set[tuple[int, str]]] = {}
    for kind in ALL_KINDS:
        titles.setdefault(kind.slug, set()).add((kind.status, kind.title))
    assert all(len(found) == 1 for found in titles.values()), titles
