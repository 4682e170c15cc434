"""Encode, decode, reconstruct, score: rows in, rows out, each way in the format that its header names."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.dependencies import House, Inferrer
from service.problems import responses
from service.routes.models import Reference
from service.serving import codecs
from service.serving.codecs import JSON, NPY, Question, Reply
from service.serving.engine import Action, Answer, expected_rows
from service.serving.errors import BadTensor

router = APIRouter(prefix="/v1/models", tags=["inference"])
# Smaller bodies are parsed where they arrive: a hop to a thread costs more than they do.
_INLINE_BYTES = 64 * 1024
_NAMES: dict[str, str] = {
    "encode": "codes",
    "decode": "outputs",
    "reconstruct": "reconstructions",
    "score": "scores",
}
_MODEL: dict[str, Any] = {"name": "digits-code", "version": 3, "space": "sp_9f2c1d0e8b7a6f5e4d3c2b1a09f8e7d6"}
_BASE64 = (
    "Instead of lists: `inputs` as base64 of little-endian float32, and the answer's array in the same form."
)


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


class ScoredRows(Rows):
    """Rows to score."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [[0.0, 0.5, 1.0]], "per_feature": True}]}
    )

    per_feature: bool = Field(False, description="Add the share of every feature in a row's error.")


class _Answered(BaseModel):
    model: ModelUsed
    encoding: str | None = Field(None, description="`base64` where the request asked for it.")
    shape: list[int] | None = Field(None, description="Of the array, where it is base64.")


class Codes(_Answered):
    """The codes of rows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"codes": [[0.12, -1.4]], "model": _MODEL}]})

    codes: list[list[float]] | str


class Outputs(_Answered):
    """The rows of codes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outputs": [[0.0, 0.49, 0.98]], "model": _MODEL}]}
    )

    outputs: list[list[Any]] | str = Field(description="In the dataset's own shape.")


class Reconstructions(_Answered):
    """Rows through the code and back."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reconstructions": [[0.0, 0.49, 0.98]], "model": _MODEL}]}
    )

    reconstructions: list[list[Any]] | str = Field(
        description="Flat where the rows came flat, else in their shape."
    )


class Scores(_Answered):
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


def _documented(body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of a route that reads and writes its bodies itself."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    document = body.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        "response_model": answer,
        "responses": {
            **responses(404, 406, 410, 413, 415, 422),
            200: {
                "content": {NPY: binary},
                "headers": {
                    "Server-Timing": {
                        "description": "queue, parse and compute, ms.",
                        "schema": {"type": "string"},
                    },
                    "X-Model": {"description": "name@version that answered.", "schema": {"type": "string"}},
                    "X-Space": {"description": "The space of its codes.", "schema": {"type": "string"}},
                },
            },
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {JSON: {"schema": document}, NPY: binary}}
        },
    }


@router.post("/{name}/encode", summary="Codes of rows", **_documented(Rows, Codes))
async def encode(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """One row or ten thousand; codes are float32."""
    return await _infer("encode", name, request, house)


@router.post("/{name}/decode", summary="Rows of codes", **_documented(Rows, Outputs))
async def decode(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """From codes back to rows in the dataset's own units."""
    return await _infer("decode", name, request, house)


@router.post(
    "/{name}/reconstruct", summary="Rows through the code and back", **_documented(Rows, Reconstructions)
)
async def reconstruct(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """What the model makes of rows, in the dataset's own units."""
    return await _infer("reconstruct", name, request, house)


@router.post("/{name}/score", summary="How odd are rows?", **_documented(ScoredRows, Scores))
async def score(
    name: Reference,
    request: Request,
    house: House,
    _: Inferrer,
    per_feature: Annotated[
        bool, Query(description="The same as in a JSON body, for bodies that are not.")
    ] = False,
) -> Response:
    """The reconstruction error per row and its percentile among held-out ones; as npy the errors alone."""
    return await _infer("score", name, request, house, per_feature=per_feature)


async def _infer(
    action: Action, name: str, request: Request, house: House, *, per_feature: bool = False
) -> Response:
    sent = codecs.read_format(request.headers.get("content-type"))
    wanted = codecs.write_format(request.headers.get("accept"), sent)
    model = await house.engine.model(name)
    body = await request.body()
    began = time.perf_counter()
    question = await _in_place(codecs.decode, len(body), body, sent, expected_rows(model, action))
    per_feature = per_feature or question.per_feature
    if question.per_feature and action != "score":
        raise BadTensor("is for score alone", field="per_feature")
    if per_feature and wanted == NPY:
        raise BadTensor("needs an answer in JSON", field="per_feature")
    parsed = time.perf_counter() - began
    answer = await house.engine.run(action, model, question.rows, per_feature=per_feature)
    if action == "reconstruct" and question.flat:
        # Rows come back in the form in which they were sent.
        answer = replace(answer, values=answer.values.reshape(len(question.rows), -1))
    content = await _in_place(_write, answer.values.nbytes, action, answer, wanted, question)
    headers = {
        "Server-Timing": _timing(queue=answer.queue_seconds, parse=parsed, compute=answer.compute_seconds),
        "X-Model": f"{model.name}@{model.version}",
        "X-Space": model.space,
    }
    return Response(content, media_type=wanted, headers=headers)


async def _in_place(function: Any, weight: int, *arguments: Any) -> Any:
    """Small work where we are, large work in a thread, so that others are served meanwhile."""
    if weight <= _INLINE_BYTES:
        return function(*arguments)
    return await anyio.to_thread.run_sync(function, *arguments)


def _write(action: Action, answer: Answer, wanted: str, question: Question) -> bytes:
    model = answer.model
    beside: dict[str, Any] = dict(answer.beside)
    if "per_feature" in beside and model.facts.columns is not None:
        beside["columns"] = list(model.facts.columns)
    beside["model"] = {"name": model.name, "version": model.version, "space": model.space}
    return codecs.encode(Reply(_NAMES[action], answer.values, beside), wanted, question.encoding)


def _timing(**seconds: float) -> str:
    return ", ".join(f"{name};dur={1000 * value:.3f}" for name, value in seconds.items())
