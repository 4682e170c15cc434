"""Waiting in a test for what another task or thread does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Let everything else go on until it is so."""
    for _ in range(int(seconds * 1000)):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError("it never came to be so")
