"""GET /v1/catalog: every word with its schema, summary and reference."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from autoencoders.spec import FAMILIES
from service.dependencies import Reader
from service.problems import responses
from store.errors import NotFound

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])

_WORD: dict[str, Any] = {
    "name": "he_normal",
    "summary": "Independent normal weights with the variance that keeps a rectifier's signal.",
    "formula": "W ~ N(0, gain^2 / fan_in)",
    "reference": "He et al., 2015",
    "parameters": {"type": "object", "properties": {"mode": {"type": "string", "default": "fan_in"}}},
}


class Word(BaseModel):
    """A word of a family."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WORD]})

    name: str
    summary: str
    formula: str
    reference: str
    parameters: dict[str, Any] = Field(description="JSON Schema of its parameters; enough to draw a form.")


class Family(BaseModel):
    """A family of words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"family": "inits", "items": [_WORD]}]})

    family: str
    items: list[Word]


class Families(BaseModel):
    """Every family."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [{"family": "inits", "items": [_WORD]}]}]}
    )

    items: list[Family]


@router.get("", summary="Every word of every family")
def list_families(_: Reader) -> Families:
    """All that a job may be made of, as the code itself knows it."""
    return Families(items=[_family(name) for name in FAMILIES])


@router.get("/{family}", summary="The words of one family", responses=responses(404))
def get_family(family: str, _: Reader) -> Family:
    """One family, such as `inits` or `activations`."""
    if family not in FAMILIES:
        raise NotFound("family", family)
    return _family(family)


def _family(name: str) -> Family:
    return Family(family=name, items=[Word.model_validate(entry.describe()) for entry in FAMILIES[name]])
