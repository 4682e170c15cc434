"""Bodies that are read while the rest of them is still coming, and rows that are computed meanwhile."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Self

from starlette.types import Receive

from service.serving.codecs import Array, Expected, Question, Rows
from service.serving.codecs.json_rows import RowsReader
from service.serving.engine import MAIN, Action, Answer, Engine
from service.serving.forward import LoadedModel
from service.serving.lane import Awaited


class Body:
    """A request's body in its parts, read as they come where there is a reader for it.

    Args:
        reader: of its rows.

    Attributes:
        size: how many bytes came so far.
        parse_seconds: how long their reading took.
    """

    __slots__ = ("_parts", "_reader", "parse_seconds", "size")

    def __init__(self, reader: RowsReader | None) -> None:
        self._parts: list[bytes] = []
        self._reader = reader
        self.size = 0
        self.parse_seconds = 0.0

    def add(self, part: bytes) -> None:
        """Another part came."""
        self._parts.append(part)
        self.size += len(part)
        if self._reader is not None:
            began = time.perf_counter()
            self._reader.feed(part)
            self.parse_seconds += time.perf_counter() - began

    def question(self, expected: Expected) -> Question | None:
        """What was asked, once all parts came; None where they were not read, or for another model."""
        reader, self._reader = self._reader, None
        return reader.end() if reader is not None and reader.expected is expected else None

    def whole(self) -> bytes:
        """All of it, as it came."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class Arriving:
    """One request whose rows are computed as they arrive.

    Args:
        engine: what computes.
        action: what to do.
        model: one that is in memory.
        size: of the body, in bytes.

    Attributes:
        parse_seconds: how long its reading took so far, the waiting for more of it left out.
    """

    def __init__(self, engine: Engine, action: Action, model: LoadedModel, size: int) -> None:
        self._engine, self._action, self._model = engine, action, model
        self._reader = RowsReader(model.expected[action], size)
        self._asked: list[Awaited] = []
        self.parse_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, problem: type[BaseException] | None, *_: object) -> None:
        if problem is not None:
            self._leave()

    def feed(self, part: bytes) -> None:
        """Read on, and send off what is enough for a pass.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        began = time.perf_counter()
        self._reader.feed(part)
        self.parse_seconds += time.perf_counter() - began
        count = self._reader.count
        if count and self._reader.fits and self._engine.is_enough(self._action, self._model, count):
            self._send(self._reader.take())

    def end(self) -> Question | None:
        """What was asked, where the whole body was as plain as it seemed; else None.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        began = time.perf_counter()
        question = self._reader.end()
        self.parse_seconds += time.perf_counter() - began
        if question is None:
            self._leave()
            return None
        if len(question.rows):
            self._send(question.rows)
        return question

    async def computed(self, receive: Receive | None, which: slice) -> AsyncIterator[Array]:
        """What the model makes of the parts of the rows that were sent off, each as soon as it is there.

        Raises:
            ClientGone: the client left before.
        """
        for asked in self._asked[which]:
            (made,) = await self._engine.computed([asked], receive)
            yield made[MAIN[self._action]]

    async def answer(self, receive: Receive | None) -> Answer:
        """What the model made of all rows, in their order.

        Raises:
            ClientGone: the client left before its rows were computed.
        """
        return await self._engine.gathered(self._action, self._model, self._asked, receive)

    def _leave(self) -> None:
        for asked in self._asked:
            if not asked.future.cancel() and not asked.future.cancelled():
                asked.future.exception()  # looked at, or the event loop would complain of it

    def _send(self, rows: Rows) -> None:
        self._asked.append(self._engine.submit(self._action, self._model, rows, first=not self._asked))
