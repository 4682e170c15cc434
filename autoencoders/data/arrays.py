"""The array types of this package, and the seeded numpy generators that every draw comes from."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CHUNK_BYTES = 16 * 2**20


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for one named stream: a pure function of (seed, names), the same on every machine."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))
    )


def rows_per_chunk(row_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """How many rows a chunk holds: never none."""
    return max(1, chunk_bytes // max(1, row_bytes))
