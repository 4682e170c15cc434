"""`/v2/models/{name}/infer`: the engine as the Open Inference Protocol speaks to it.

Nothing here goes by `Content-Type`, which the protocol's clients do not send: the header with the length of
the JSON alone says whether binary tensors follow.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.types import Receive

from service.dependencies import House, Inferrer
from service.errors import FieldRefused
from service.routes.answered import Answered, Parts, Read, Sent, in_place, respond, server_timing
from service.routes.inference_v2_wire import documented
from service.serving import protocol
from service.serving.codecs import compression
from service.serving.engine import Action, Answer, Engine
from service.serving.errors import DeadlinePassed
from service.serving.forward import LoadedModel
from service.serving.protocol import InferRequest

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
Name = Annotated[str, Path(description="`faces`, `faces@3` or `faces@champion`.", examples=["digits-code"])]
Version = Annotated[str, Path(description="A version or an alias.", examples=["3"])]
_LENGTH = b"inference-header-content-length"
# What is smaller is read and written where it is: a hop to a thread costs more than that.
_INLINE_JSON_BYTES = 256 * 1024
_INLINE_BYTES = 4 * 1024 * 1024
_INLINE_COMPRESSED_BYTES = 64 * 1024
# The window of zlib for each: deflate is a zlib stream, as the protocol's clients pack and unpack it.
_WINDOWS = {b"gzip": 31, b"deflate": 15}
_FAST_LEVEL = 1


@router.post("/models/{name}/infer", summary="Codes, reconstructions and scores of rows", **documented())
async def infer_model(name: Name, request: Request, house: House, _: Inferrer) -> Response:
    """The outputs that are asked for: `code`, `reconstruction`, `score`; without a choice all of them."""
    return await respond(request, partial(infer, house.engine, name, receive=request.receive))


@router.post(
    "/models/{name}/versions/{version}/infer",
    summary="The same of one version",
    **documented(),
)
async def infer_version(
    name: Name, version: Version, request: Request, house: House, _: Inferrer
) -> Response:
    """The version is a number or an alias."""
    way = partial(infer, house.engine, of_version(name, version), receive=request.receive)
    return await respond(request, way)


def of_version(name: str, version: str) -> str:
    """The one reference that name and version make.

    Raises:
        FieldRefused: the name has a version already.
    """
    if "@" in name:
        raise FieldRefused([(("path", "version"), f"the name {name!r} says which version already")])
    return f"{name}@{version}"


async def infer(
    engine: Engine,
    name: str,
    sent: Sent,
    read: Read,
    *,
    receive: Receive | None = None,
) -> Answered:
    """Answer one request.

    Args:
        engine: what computes.
        name: the model's, with a version or without.
        sent: the request's headers, their names in lower case.
        read: reads the request's body and gives it to the parser that it is given.
        receive: the request's own; says whether the client is still there.

    Raises:
        NotFound: there is no such model.
        BadTensor: the request cannot be answered by it.
        UnknownFormat: the body is compressed in another way than by gzip or deflate.
        BodyTooLarge: it is larger than the limit when it is inflated.
        Overloaded: too many rows are waiting already.
        DeadlinePassed: the request's own timeout ran out.
        ClientGone: nobody waits for the answer.
    """
    model = engine.held(name) or await engine.model(name)
    request, parsed = await read(partial(_parse, sent, model, engine.limit_bytes))
    answers = await _computed(engine, model, request, receive)
    began = time.perf_counter()
    content, length = await _written(model, request, answers)
    content, encoding = await _compressed(content, sent.get(b"accept-encoding"))
    written = time.perf_counter() - began
    seen = engine.statistics(model.key)
    seen.compute_input.add(parsed)
    seen.compute_output.add(written)
    first = answers[request.actions[0]]
    headers = [
        (b"content-type", b"application/json" if length is None else b"application/octet-stream"),
        (b"content-length", b"%d" % len(content)),
        (
            b"server-timing",
            server_timing(first.queue_seconds, parsed, first.compute_seconds),
        ),
        *model.headers,
    ]
    if length is not None:
        headers.append((_LENGTH, b"%d" % length))
    if encoding is not None:
        headers.append((b"content-encoding", encoding))
    return Answered(content, headers)


async def _parse(
    sent: Sent, model: LoadedModel, limit_bytes: int, parts: Parts
) -> tuple[InferRequest, float]:
    began, body = time.perf_counter(), b"".join(parts)
    packed, length = sent.get(b"content-encoding"), sent.get(_LENGTH)

    def read() -> InferRequest:
        plain = body
        if packed is not None:
            plain = compression.inflate(body, packed.decode("latin-1"), limit_bytes)
        told = None if length is None else length.decode("latin-1")
        return protocol.read(plain, protocol.header_length(told, len(plain)), model.expected["encode"])

    inline = _INLINE_JSON_BYTES if length is None else _INLINE_BYTES
    if packed is not None:
        inline = _INLINE_COMPRESSED_BYTES
    return await in_place(len(body) <= inline, read), time.perf_counter() - began


async def _computed(
    engine: Engine, model: LoadedModel, request: InferRequest, receive: Receive | None
) -> Mapping[Action, Answer]:
    try:
        async with asyncio.timeout(request.deadline_seconds):
            return await engine.run_all(request.actions, model, request.rows, receive=receive)
    except TimeoutError:
        raise DeadlinePassed(
            f"the answer took longer than the request's timeout of {request.deadline_seconds} s"
        ) from None


async def _written(
    model: LoadedModel, request: InferRequest, answers: Mapping[Action, Answer]
) -> tuple[bytes, int | None]:
    numbers = sum(
        answers[protocol.OUTPUTS[wanted.name]].values.nbytes
        for wanted in request.outputs
        if not wanted.binary
    )
    return await in_place(2 * numbers <= _INLINE_JSON_BYTES, protocol.write, model, request, answers)


async def _compressed(content: bytes, accept_encoding: bytes | None) -> tuple[bytes, bytes | None]:
    """The answer as its reader can unpack it.

    Those that can name one encoding alone; a list is what HTTP libraries say on their own, for clients that
    cannot.
    """
    window = None if accept_encoding is None else _WINDOWS.get(accept_encoding.strip().lower())
    if accept_encoding is None or window is None:
        return content, None

    def pack() -> bytes:
        packer = zlib.compressobj(_FAST_LEVEL, zlib.DEFLATED, window)
        return packer.compress(content) + packer.flush()

    packed = await in_place(len(content) <= _INLINE_COMPRESSED_BYTES, pack)
    return packed, accept_encoding.strip().lower()
