"""JSON answers: the array under its name, as lists or base64, and all that stands beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from service.serving.codecs import base64_text
from service.serving.codecs.rows import Array, Reply


def write(reply: Reply, encoding: str | None = None) -> bytes:
    """The document; floats in float32's shortest form."""
    beside = {
        name: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
        for name, value in reply.beside.items()
    }
    document: dict[str, Any]
    if encoding == "base64":
        shape = list(reply.values.shape)
        text = base64_text.write(reply.values)
        document = {reply.name: text, "encoding": "base64", "shape": shape, **beside}
    elif reply.lists is not None:
        document = {reply.name: orjson.Fragment(reply.lists), **beside}
    else:
        document = {reply.name: np.ascontiguousarray(reply.values), **beside}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


class Lists:
    """A reply's values as lists, written part by part in their order."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, values: Array) -> None:
        """Write some more of them, one at least."""
        text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        self._pieces.append(text[1:-1])

    def text(self) -> bytes:
        """All of them."""
        return b"[%b]" % b",".join(self._pieces)
