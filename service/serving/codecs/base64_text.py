"""base64 of little-endian float32: arrays inside of JSON at a third more than their bytes."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from service.serving.codecs.rows import Array, Expected
from service.serving.errors import BadTensor


def read(text: str, shape: Any, expected: Expected) -> Array:
    """The rows in the text.

    Args:
        text: base64.
        shape: what the body says beside it, or None to go by the model's width.
        expected: what the model takes.

    Raises:
        BadTensor: it is no base64, or no whole rows.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadTensor(f"is not base64: {error}") from None
    if shape is not None:
        if not isinstance(shape, list) or not all(type(extent) is int and extent >= 0 for extent in shape):
            raise BadTensor("must be a list of counts, such as [2, 784]", field="shape")
        if 4 * math.prod(shape) != len(raw):
            raise BadTensor(f"float32 of it are {4 * math.prod(shape)} bytes, not {len(raw)}", field="shape")
        return np.frombuffer(raw, dtype="<f4").reshape(shape)
    if not raw or len(raw) % (4 * expected.width):
        raise BadTensor(
            f"holds {len(raw)} bytes, which is no multiple of a row's {4 * expected.width} "
            f"({expected.width} little-endian float32)"
        )
    return np.frombuffer(raw, dtype="<f4").reshape(-1, expected.width)


def write(values: Array) -> str:
    """The values as base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()
