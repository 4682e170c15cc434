"""What names mean: asked of the store on first use, and again in the background for as long as they are used.

A name that is in use never waits for the store. What it means is asked again when half its time is over, and
what it has come to mean is in memory before the first request goes there; only a name whose answer is older
than its whole time waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from store import NotFound

_REMEMBERED = 4096


@dataclass(frozen=True)
class Resolved:
    """What a name meant when it was last looked up."""

    name: str
    version: int
    artifact: str
    threshold: Mapping[str, Any] | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> str:
        """The same for every name of this version."""
        return f"{self.name}@{self.version}"


class Names:
    """Names and what they mean, used from the event loop alone.

    Args:
        ask: what a name means now; it answers when that is ready for use.
        seconds: how old an answer may be.
    """

    def __init__(self, ask: Callable[[str], Awaitable[Resolved]], seconds: float) -> None:
        self._ask, self.seconds = ask, seconds
        self._known: dict[str, tuple[float, Resolved]] = {}
        self._asking: dict[str, asyncio.Task[Resolved]] = {}

    def now(self, name: str) -> Resolved | None:
        """What the name means, where that is known without waiting."""
        known = self._known.get(name)
        if known is None:
            return None
        age = time.monotonic() - known[0]
        if age > self.seconds / 2:
            if age > self.seconds:
                return None
            self._single(name)
        return known[1]

    async def resolve(self, name: str) -> Resolved:
        """What the name means, asked of the store where need be; many who ask are one question.

        Raises:
            NotFound: nothing has this name.
        """
        now = self.now(name)
        return now if now is not None else await asyncio.shield(self._single(name))

    def forget(self, name: str) -> None:
        """A model's names were moved: an answer that is on its way may be of before, so it counts no more."""
        for known in (self._known, self._asking):
            for each in [each for each in known if each.partition("@")[0] == name]:
                del known[each]

    def _single(self, name: str) -> asyncio.Task[Resolved]:
        task = self._asking.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._learn(name))
            self._asking[name] = task
            task.add_done_callback(_seen)
        return task

    async def _learn(self, name: str) -> Resolved:
        asked, task = time.monotonic(), asyncio.current_task()
        try:
            meant = await self._ask(name)
        except NotFound:
            if self._asking.get(name) is task:
                self._known.pop(name, None)
            raise
        else:
            if self._asking.get(name) is task:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[name] = (asked, meant)
            return meant
        finally:
            if self._asking.get(name) is task:
                del self._asking[name]


def _seen(task: asyncio.Task[Resolved]) -> None:
    """Have a failure that nobody waited for not be called forgotten."""
    if not task.cancelled():
        task.exception()
