"""Encode, decode, reconstruct, score: rows in, rows out, each way in the format that its header names.

The routes below stand in the interface's description and answer like any other. A gateway that is running
leads requests for them past the framework (`service/shortcut.py`) to the same `infer`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive

from service.dependencies import House, Inferrer
from service.routes.answered import (
    Answered,
    Headers,
    Parts,
    Read,
    Sent,
    in_place,
    respond,
    server_timing,
)
from service.routes.inference_arriving import LARGE_BYTES, Underway, formed, size_of
from service.routes.inference_wire import (
    Codes,
    Outputs,
    Reconstructions,
    Rows,
    ScoredRows,
    Scores,
    documented,
)
from service.routes.models import Reference
from service.serving import codecs
from service.serving.arriving import Arriving, Body
from service.serving.codecs import CSV, FORMATS, JSON, ONE_ARRAY, RAW, Expected, Question, Reply, compression
from service.serving.codecs.json_rows import RowsReader
from service.serving.engine import Action, Answer, Engine
from service.serving.errors import BadTensor
from service.serving.forward import LoadedModel
from service.serving.thresholds import anomalies

router = APIRouter(prefix="/v1/models", tags=["inference"])
# What is smaller is read and written where it is: a hop to a thread costs more than that.
_INLINE_BYTES = {JSON: LARGE_BYTES, CSV: 64 * 1024}
_SMALL_BYTES = 64 * 1024
# A double at its longest, with what is between it and the next.
_MOST_TEXT_BYTES = 32
_NUMBERS_A_SCORE = 3
_INLINE_BINARY_BYTES = 4 * 1024 * 1024
_NAMES: dict[Action, str] = {
    "encode": "codes",
    "decode": "outputs",
    "reconstruct": "reconstructions",
    "score": "scores",
}
_CONTENT_TYPES = {media: media.encode() for media in FORMATS}
_WORTH_BYTES = 64 * 1024
_REMEMBERED_FORMATS = 256
_formats: dict[tuple[bytes | None, bytes | None], tuple[str, str]] = {}


@router.post("/{name}/encode", summary="Codes of rows", **documented(Rows, Codes))
async def encode(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """One row or ten thousand; codes are float32."""
    return await _respond("encode", name, request, house.engine)


@router.post("/{name}/decode", summary="Rows of codes", **documented(Rows, Outputs))
async def decode(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """From codes back to rows in the dataset's own units."""
    return await _respond("decode", name, request, house.engine)


@router.post(
    "/{name}/reconstruct", summary="Rows through the code and back", **documented(Rows, Reconstructions)
)
async def reconstruct(name: Reference, request: Request, house: House, _: Inferrer) -> Response:
    """What the model makes of rows, in the dataset's own units."""
    return await _respond("reconstruct", name, request, house.engine)


@router.post("/{name}/score", summary="How odd are rows?", **documented(ScoredRows, Scores))
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
    return await _respond("score", name, request, house.engine, per_feature=per_feature)


async def infer(
    engine: Engine,
    action: Action,
    name: str,
    sent: Sent,
    read: Read,
    *,
    per_feature: bool = False,
    receive: Receive | None = None,
) -> Answered:
    """Answer one request.

    Args:
        engine: what computes.
        action: what to do.
        name: the model's.
        sent: the request's headers, their names in lower case.
        read: reads the request's body and gives it to the parser that it is given.
        per_feature: as the query asks.
        receive: the request's own; says whether the client is still there.

    Raises:
        UnknownFormat: nothing reads the body's type.
        NotAcceptable: nothing writes the types that are accepted.
        NotFound: there is no such model.
        BadTensor: the rows are not what the model takes.
        Overloaded: too many rows are waiting already.
        ClientGone: nobody waits for the answer.
    """
    media, wanted = _negotiated(sent.get(b"content-type"), sent.get(b"accept"))
    model = engine.held(name) or await engine.model(name)
    parse = partial(_parse, engine.limit_bytes, sent, media, model.expected[action])
    size = size_of(sent, media, action)
    with nullcontext() if size is None else Arriving(engine, action, model, size) as arriving:
        if arriving is None:
            underway = None
            question, parsed = await read(parse)
        else:
            underway = Underway(arriving, action, wanted, receive)
            question, parsed = await read(partial(underway.end, parse), arriving.feed)
        per_feature = per_feature or question.per_feature
        if per_feature:
            _refuse_odd(action, question, wanted)
        threshold = await engine.threshold(name, model) if action == "score" else None
        lists = None
        if underway is not None and underway.is_whole:
            answer, lists = await underway.answer()
        else:
            answer = await engine.run(action, model, question.rows, per_feature=per_feature, receive=receive)
    reply = _reply(action, answer, question, threshold)
    reply.lists = lists
    weight = 2 * answer.values.nbytes
    if weight <= _SMALL_BYTES:
        content = codecs.encode(reply, wanted, question.encoding)
    else:
        content = await in_place(_is_small(wanted, weight), codecs.encode, reply, wanted, question.encoding)
    headers = _headers(answer, reply, wanted, parsed)
    if (accepted := sent.get(b"accept-encoding")) is not None and len(content) >= _WORTH_BYTES:
        content, packed = await in_place(
            _is_small(JSON, len(content)), compression.compress, content, wanted, accepted.decode("latin-1")
        )
        headers += [(b"vary", b"accept-encoding")] + (
            [(b"content-encoding", packed.encode())] if packed else []
        )
    headers.append((b"content-length", b"%d" % len(content)))
    return Answered(content, headers)


class Plan(NamedTuple):
    """A plain request that was read: its rows, and what its answer is written in."""

    question: Question
    wanted: str
    threshold: Mapping[str, Any] | None


def reader(model: LoadedModel, action: Action, sent: Sent, size: int) -> RowsReader | None:
    """What reads a plain request's body of so many bytes while it comes; None where only the whole can be.

    Raises:
        UnknownFormat: nothing reads the body's type.
        NotAcceptable: nothing writes the types that are accepted.
    """
    media, _ = _negotiated(sent.get(b"content-type"), sent.get(b"accept"))
    if media != JSON or _has_a_large_answer(model, action, size):
        return None
    return RowsReader(model.expected[action], size)


def plan(
    model: LoadedModel, action: Action, sent: Sent, body: Body, threshold: Mapping[str, Any] | None
) -> Plan | None:
    """Read a plain request at once; None where question or answer are not small.

    Raises:
        UnknownFormat: nothing reads the body's type.
        NotAcceptable: nothing writes the types that are accepted.
        BadTensor: the rows are not what the model takes.
    """
    media, wanted = _negotiated(sent.get(b"content-type"), sent.get(b"accept"))
    if not _is_small(media, body.size) or _has_a_large_answer(model, action, body.size):
        return None
    expected = model.expected[action]
    question = body.question(expected) or codecs.decode(body.whole(), media, expected)
    if question.per_feature or len(question.rows) * _answer_bytes(model, action) > _SMALL_BYTES:
        return None
    return Plan(question, wanted, threshold if action == "score" else None)


def _has_a_large_answer(model: LoadedModel, action: Action, size: int) -> bool:
    """Whether the answer to a body of so many bytes is large whatever that holds."""
    return (
        size * _answer_bytes(model, action) > _SMALL_BYTES * _MOST_TEXT_BYTES * model.expected[action].width
    )


def _answer_bytes(model: LoadedModel, action: Action) -> int:
    """What an answer takes a row, in JSON or packed: eight bytes a number at most, about."""
    if action == "score":
        return 8 * _NUMBERS_A_SCORE
    return 8 * (model.code_size if action == "encode" else model.expected["encode"].width)


def carry_out(plan: Plan, action: Action, answer: Answer, parsed: float) -> Answered:
    """The answer to a plain request; `parsed` is how many seconds reading it took."""
    reply = _reply(action, answer, plan.question, plan.threshold)
    content = codecs.encode(reply, plan.wanted, plan.question.encoding)
    headers = _headers(answer, reply, plan.wanted, parsed)
    headers.append((b"content-length", b"%d" % len(content)))
    return Answered(content, headers)


def _headers(answer: Answer, reply: Reply, wanted: str, parsed: float) -> Headers:
    headers = [
        (b"content-type", _CONTENT_TYPES[wanted]),
        (b"server-timing", server_timing(answer.queue_seconds, parsed, answer.compute_seconds)),
        *answer.model.headers,
    ]
    if wanted == RAW:
        headers += [
            (name.lower().encode(), value.encode()) for name, value in codecs.headers(reply, wanted).items()
        ]
    return headers


async def _respond(
    action: Action, name: str, request: Request, engine: Engine, *, per_feature: bool = False
) -> Response:
    way = partial(infer, engine, action, name, per_feature=per_feature, receive=request.receive)
    return await respond(request, way)


async def _parse(
    limit_bytes: int,
    sent: Sent,
    media: str,
    expected: Expected,
    parts: Parts,
) -> tuple[Question, float]:
    began, body = time.perf_counter(), b"".join(parts)
    if b"content-encoding" in sent or b"x-shape" in sent:
        question = await in_place(
            _is_small(media, len(body)), _unpack, limit_bytes, sent, media, expected, body
        )
    elif len(body) <= _SMALL_BYTES:
        question = codecs.decode(body, media, expected)
    else:
        question = await in_place(_is_small(media, len(body)), codecs.decode, body, media, expected)
    return question, time.perf_counter() - began


def _unpack(limit_bytes: int, sent: Sent, media: str, expected: Expected, body: bytes) -> Question:
    packed, shape = sent.get(b"content-encoding"), sent.get(b"x-shape")
    body = compression.inflate(body, None if packed is None else packed.decode("latin-1"), limit_bytes)
    return codecs.decode(body, media, expected, None if shape is None else shape.decode("latin-1"))


def _negotiated(content_type: bytes | None, accept: bytes | None) -> tuple[str, str]:
    """The formats of body and answer; what was asked before is known."""
    known = _formats.get((content_type, accept))
    if known is None:
        media = codecs.read_format(None if content_type is None else content_type.decode("latin-1"))
        known = media, codecs.write_format(None if accept is None else accept.decode("latin-1"), media)
        if len(_formats) >= _REMEMBERED_FORMATS:
            _formats.clear()
        _formats[content_type, accept] = known
    return known


def _refuse_odd(action: Action, question: Question, wanted: str) -> None:
    if question.per_feature and action != "score":
        raise BadTensor("is for score alone", field="per_feature")
    if wanted in ONE_ARRAY:
        raise BadTensor("needs an answer in JSON, Arrow or CSV", field="per_feature")


def _is_small(media: str, weight: int) -> bool:
    return weight <= _INLINE_BYTES.get(media, _INLINE_BINARY_BYTES)


def _reply(action: Action, answer: Answer, question: Question, threshold: Mapping[str, Any] | None) -> Reply:
    model, values = answer.model, answer.values
    if action == "encode":
        return Reply("codes", values, {"model": model.told})
    beside: dict[str, Any] = dict(answer.beside)
    if "per_feature" in beside and model.facts.columns is not None:
        beside["columns"] = list(model.facts.columns)
    if threshold is not None:
        beside["anomaly"] = anomalies(values, threshold)
    beside["model"] = model.told
    rows = action in ("decode", "reconstruct")
    return Reply(
        _NAMES[action],
        formed(action, question, values),
        beside,
        columns=model.facts.columns if rows else None,
        white=model.expected["encode"].white if rows else None,
    )
