"""Rows of a large body, on their way to the engine while the rest of it is still coming."""

from __future__ import annotations

import time
from typing import Self

import numpy as np
from starlette.types import Receive

from service.serving.codecs import Question, Rows
from service.serving.codecs.json_pieces import Pieces
from service.serving.engine import Action, Answer, Engine
from service.serving.forward import LoadedModel
from service.serving.lane import Awaited


class Arriving:
    """One request whose rows are computed as they arrive.

    Args:
        engine: what computes.
        action: what to do.
        model: one that is in memory.

    Attributes:
        is_whole: whether all of it came and was read here.
        parse_seconds: how long its reading took so far, the waiting for more of it left out.
    """

    def __init__(self, engine: Engine, action: Action, model: LoadedModel) -> None:
        self._engine, self._action, self._model = engine, action, model
        self._expected = model.expected[action]
        self._pieces = Pieces(self._expected)
        self._rows: list[Rows] = []
        self._asked: list[Awaited] = []
        self.is_whole = False
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
        rows = self._pieces.feed(part)
        self.parse_seconds += time.perf_counter() - began
        if rows is not None:
            self._rows.append(rows)
            if self._engine.is_enough(self._action, self._model, sum(map(len, self._rows))):
                self._send()

    def end(self) -> Question | None:
        """The question, without the rows, where the whole body was as plain as it seemed; else None.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        began = time.perf_counter()
        rows = self._pieces.end()
        self.parse_seconds += time.perf_counter() - began
        if rows is None:
            self._leave()
            return None
        self._rows.append(rows)
        self._send()
        self.is_whole = True
        return Question(np.empty((0, self._expected.width), np.float32))

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

    def _send(self) -> None:
        rows = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        self._rows = []
        self._asked.append(self._engine.submit(self._action, self._model, rows, first=not self._asked))
