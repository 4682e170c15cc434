"""Lanes: requests that may run in one batch, and whose rows are in the next one.

The oldest request gets half of a batch that cannot hold everything, so that it comes to its end whatever
arrives; the rest goes to those with the fewest rows left, so that one row never waits for a hundred thousand.
A request larger than a batch is cut; rows that nobody waits for any more are dropped, not computed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from service.serving.codecs import Rows
from service.serving.errors import ClientGone
from service.serving.pace import Pace

Arrays = dict[str, np.ndarray[Any, Any]]
Wants = frozenset[str]
Forward = Callable[[Rows, Wants], Arrays]
Part = tuple["Asked", int, int]
"""Some rows of a request in a batch: from which row to before which. Made by the thousand: hence no class."""


class Waiter(Protocol):
    """Who waits for a request's arrays: an asyncio future, or anything like it that is told at once."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, made: Arrays, /) -> None:
        """Here they are."""

    def set_exception(self, problem: Exception, /) -> None:
        """There will be none."""


class Seen(Protocol):
    """Who counts what a lane does."""

    def ran(self, rows: int, seconds: float) -> None:
        """One forward pass was made."""

    def answered(self, requests: int, rows: int, queue_seconds: float, compute_seconds: float) -> None:
        """So many requests have all their answers; the times are those of all of them together."""

    def failed(self, seconds: float) -> None:
        """One request got none."""


@dataclass(eq=False, slots=True)
class Asked:
    """One request's rows on their way.

    Attributes:
        rows: [n, width], contiguous.
        count: how many there are.
        wants: the arrays that it is to get.
        future: told of them, each with n rows.
        since: when it was submitted.
        queue_seconds: how long it waited, known at the end.
        compute_seconds: how long the forward passes took that its rows were in.
        requests: how many requests it counts as: none, where it is a further part of one.
    """

    rows: Rows
    count: int
    wants: Wants
    future: Waiter
    since: float
    taken: int = 0
    given: int = 0
    made: Arrays | None = None
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    requests: int = 1

    @property
    def left(self) -> int:
        """Rows that are in no batch yet."""
        return self.count - self.taken

    def leave(self) -> None:
        """Nobody waits for it any more: what is not computed yet never will be."""
        if not self.future.done():
            self.future.set_exception(ClientGone())


@dataclass(eq=False, slots=True)
class Awaited(Asked):
    """Rows for which a coroutine waits."""

    future: asyncio.Future[Arrays]


class Lane:
    """What may run in one batch: requests that one function answers.

    Args:
        forward: rows and the names of the arrays that are wanted, to those arrays.
        most_rows: of one batch, whatever the device could do.
        seen: told of every pass and every answer.
    """

    def __init__(self, forward: Forward, most_rows: int, seen: Seen) -> None:
        self.forward, self.most_rows, self.seen = forward, most_rows, seen
        self.pace = Pace()
        self.waiting: deque[Asked] = deque()
        self.left = 0

    def add(self, asked: Asked) -> None:
        """Join the queue."""
        self.waiting.append(asked)
        self.left += asked.count

    def take(self, most: int) -> list[Part]:
        """The next batch, of `most` rows at most; empty where all who waited have left."""
        if self.left > most:
            for asked in [asked for asked in self.waiting if asked.future.done()]:
                self.waiting.remove(asked)
                self.left -= asked.left
        if self.left > most:
            return self._shared(most)
        parts = [(asked, asked.taken, asked.count) for asked in self.waiting if not asked.future.done()]
        self.waiting.clear()
        self.left = 0
        return parts

    def _shared(self, room: int) -> list[Part]:
        oldest = self.waiting[0]
        shares = {oldest: min(oldest.left, max(1, room // 2))}
        free = room - shares[oldest]
        for asked in sorted(self.waiting, key=lambda each: each.left - shares.get(each, 0)):
            if not free:
                break
            had = shares.get(asked, 0)
            more = min(asked.left - had, free)
            if more:
                shares[asked] = had + more
                free -= more
        parts = []
        for asked, share in shares.items():
            parts.append((asked, asked.taken, asked.taken + share))
            asked.taken += share
            if not asked.left:
                self.waiting.remove(asked)
        self.left -= room
        return parts
