"""Large bodies take turns: read all at once they end all together, and nothing is computed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 2
PATIENCE_SECONDS = 0.5


class Turns:
    """So many bodies are read at a time; one that comes slowly gives its turn away and is read beside them.

    Args:
        at_once: how many have a turn.
        patience_seconds: how long a turn may last.
    """

    def __init__(self, at_once: int = AT_ONCE, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._free, self._patience_seconds = asyncio.Semaphore(at_once), patience_seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn and have it."""
        await self._free.acquire()
        timer = asyncio.get_running_loop().call_later(self._patience_seconds, self._free.release)
        try:
            yield
        finally:
            if timer.when() > asyncio.get_running_loop().time():
                timer.cancel()
                self._free.release()
