"""JsonRoute: JSON bodies are read strictly: no NaN, no bottomless nesting, nothing that is not JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body, read by a parser that refuses what the standard library lets through."""
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """A route whose JSON body is read strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, given a stricter request."""
        usual = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await usual(_StrictRequest(request.scope, request.receive))

        return strict
