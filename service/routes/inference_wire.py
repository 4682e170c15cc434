"""Inference as the wire shows it: the bodies and answers of encode, decode, reconstruct and score."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.problems import responses
from service.serving.codecs import ARROW, CSV, JPEG, JSON, NPY, PNG, RAW

_MODEL: dict[str, Any] = {"name": "digits-code", "version": 3, "space": "sp_9f2c1d0e8b7a6f5e4d3c2b1a09f8e7d6"}
_BASE64 = (
    "Instead of lists: `inputs` as base64 of little-endian float32, and the answer's array in the same form."
)
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def _said(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


_HEADERS = {
    "Server-Timing": _said("queue, parse and compute, ms."),
    "X-Model": _said("name@version that answered."),
    "X-Space": _said("The space of its codes."),
    "X-Shape": _said("Of a raw answer, such as `3,30`."),
}
_PARAMETERS = [
    {
        "name": "X-Shape",
        "in": "header",
        "required": False,
        **_said("Of a raw body, such as `3,784`; left out, rows are as wide as the model's."),
    },
    {
        "name": "Content-Encoding",
        "in": "header",
        "required": False,
        **_said("gzip, deflate or zstd."),
    },
]


class ModelUsed(BaseModel):
    """Which version answered; versions of one `space` have comparable codes."""

    name: str
    version: int
    space: str


class Rows(BaseModel):
    """Rows for a model, in the dataset's own units."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"inputs": [[0.0, 0.5, 1.0]]}, {"inputs": [{"age": 41, "height": 1.8}]}]
        },
    )

    inputs: list[list[Any]] | list[dict[str, float]] | str
    encoding: Annotated[str | None, Field(pattern="^base64$", description=_BASE64)] = None
    shape: list[int] | None = Field(
        None, description="Of the rows, where they are base64 and not flat.", examples=[[2, 28, 28]]
    )


class ScoredRows(Rows):
    """Rows to score."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [[0.0, 0.5, 1.0]], "per_feature": True}]}
    )

    per_feature: bool = Field(False, description="Add the share of every feature in a row's error.")


class Answered(BaseModel):
    """What every answer says beside its array."""

    model: ModelUsed
    encoding: str | None = Field(None, description="`base64` where the request asked for it.")
    shape: list[int] | None = Field(None, description="Of the array, where it is base64.")


class Codes(Answered):
    """The codes of rows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"codes": [[0.12, -1.4]], "model": _MODEL}]})

    codes: list[list[float]] | str


class Outputs(Answered):
    """The rows of codes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outputs": [[0.0, 0.49, 0.98]], "model": _MODEL}]}
    )

    outputs: list[list[Any]] | str = Field(description="In the dataset's own shape.")


class Reconstructions(Answered):
    """Rows through the code and back."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reconstructions": [[0.0, 0.49, 0.98]], "model": _MODEL}]}
    )

    reconstructions: list[list[Any]] | str = Field(
        description="Flat where the rows came flat, else in their shape."
    )


class Scores(Answered):
    """The reconstruction error of rows, in scaled units."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"scores": [2.3], "percentiles": [87.5], "per_feature": [[0.1, 0.7, 0.2]], "model": _MODEL}
            ]
        }
    )

    scores: list[float] | str
    percentiles: list[float] = Field(
        description="The percentage of held-out rows with a smaller or equal error."
    )
    per_feature: list[list[float]] | None = Field(
        None, description="Shares of the row's error; each row adds up to 1."
    )
    columns: list[str] | None = Field(None, description="The table's columns, in the order of `per_feature`.")
    anomaly: list[bool] | None = Field(
        None, description="Whether a score is above the version's threshold, where one is set."
    )


def documented(body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of a route that reads and writes its bodies itself."""
    document = {"$ref": f"#/components/schemas/{body.__name__}"}
    # What a generated client sends for any bytes is the last one.
    others = dict.fromkeys((NPY, ARROW, CSV, PNG, JPEG, RAW), _BINARY)
    return {
        "response_model": answer,
        "responses": {
            **responses(404, 406, 410, 413, 415, 422),
            200: {"content": others, "headers": _HEADERS},
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {JSON: {"schema": document}, **others}},
            "parameters": _PARAMETERS,
        },
    }
