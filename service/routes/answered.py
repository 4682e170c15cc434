"""What both dialects of inference share: the way from a body to an answer, with or without the framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from fastapi import Request, Response

Headers = list[tuple[bytes, bytes]]
Sent = Mapping[bytes, bytes]
Parts = Sequence[bytes]
"""A body in the parts in which it came."""
P = ParamSpec("P")
T = TypeVar("T")


class Read(Protocol):
    """Reads a request's body, and gives it to the parser that it is given."""

    async def __call__(
        self, parse: Callable[[Parts], Awaitable[T]], feed: Callable[[bytes], None] | None = None
    ) -> T:
        """What the parser made of the body; `feed` gets each part of it as it comes."""


class Answered(NamedTuple):
    """The body of an answer and its headers, all but the request's id."""

    content: bytes
    headers: Headers


async def respond(request: Request, infer: Callable[[Sent, Read], Awaitable[Answered]]) -> Response:
    """Answer a request that came by the framework."""

    async def read(parse: Callable[[Parts], Awaitable[T]], feed: Callable[[bytes], None] | None = None) -> T:
        body = await request.body()
        if feed is not None:
            feed(body)
        return await parse([body])

    answered = await infer(dict(request.scope["headers"]), read)
    response = Response(answered.content)
    response.raw_headers = answered.headers
    return response


async def in_place(inline: bool, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Small work where we are, large work in a thread, so that others are served meanwhile."""
    if inline:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)


def server_timing(queue: float, parse: float, compute: float) -> bytes:
    """The value of `Server-Timing`; the times are in seconds."""
    return b"queue;dur=%.3f, parse;dur=%.3f, compute;dur=%.3f" % (1000 * queue, 1000 * parse, 1000 * compute)
