"""Rows and models that bodies are read for, and bodies that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.serving import codecs
from service.serving.codecs import Expected
from service.serving.errors import BadTensor

FLAT = Expected(64, (64,))
IMAGES = Expected(64, (8, 8), white=1.0)
TABLE = Expected(3, (3,), ("age", "height", "7"))


def rows_of(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers of every size that float32 has."""
    chance = np.random.default_rng(seed)
    return (chance.standard_normal((count, 64)) * 10.0 ** chance.integers(-20, 20, (count, 64))).astype("f4")


def refused(body: bytes, media: str, expected: Expected = FLAT, shape: str | None = None) -> BadTensor:
    with pytest.raises(BadTensor) as caught:
        codecs.decode(body, media, expected, shape)
    return caught.value
