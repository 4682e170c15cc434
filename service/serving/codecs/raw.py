"""Raw little-endian float32: nothing but the numbers, their shape in `X-Shape` or known from the model."""

from __future__ import annotations

import math

import numpy as np

from service.serving.codecs.rows import Array, Expected, Reply
from service.serving.errors import BadTensor

SHAPE_HEADER = "X-Shape"
_MOST_AXES = 8


def read(body: bytes, expected: Expected, shape: str | None = None) -> Array:
    """The rows, a view of the body.

    Args:
        body: little-endian float32.
        expected: what the model takes.
        shape: what `X-Shape` says, such as `3,784`; None to go by the model's width.

    Raises:
        BadTensor: the bytes are not as many as the shape says, or no whole rows.
    """
    numbers = np.frombuffer(body[: len(body) // 4 * 4], dtype="<f4")
    if shape is not None:
        extents = _extents(shape)
        if 4 * math.prod(extents) != len(body):
            raise BadTensor(
                f"{shape} float32 are {4 * math.prod(extents)} bytes; the body has {len(body)}",
                field=SHAPE_HEADER,
            )
        return numbers.reshape(extents)
    if not body or len(body) % (4 * expected.width):
        raise BadTensor(
            f"the body has {len(body)} bytes, which is no multiple of a row's {4 * expected.width} "
            f"({expected.width} little-endian float32)",
            field="body",
        )
    return numbers.reshape(-1, expected.width)


def write(reply: Reply) -> bytes:
    """The main array alone."""
    return np.ascontiguousarray(reply.values, dtype="<f4").tobytes()


def headers(reply: Reply) -> dict[str, str]:
    """`X-Shape` of an answer."""
    return {SHAPE_HEADER: ",".join(map(str, reply.values.shape))}


def _extents(shape: str) -> tuple[int, ...]:
    parts = [part.strip() for part in shape.strip().strip("[]()").split(",")]
    if len(parts) > _MOST_AXES or not all(part.isascii() and part.isdecimal() for part in parts):
        raise BadTensor(f"{shape[:40]!r} is no shape; it is written like 3,784", field=SHAPE_HEADER)
    if any(len(part) > 12 for part in parts):
        raise BadTensor(f"{shape[:40]!r} is larger than any body", field=SHAPE_HEADER)
    return tuple(int(part) for part in parts)
