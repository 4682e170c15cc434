"""Tensors of the Open Inference Protocol: datatypes, shapes, and the float32 rows that they become."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from service.serving.codecs import JPEG, PNG, Expected, Rows, finite, images
from service.serving.codecs.rows import Array
from service.serving.errors import BadTensor

INPUT = "input"
"""The one input's name."""
BYTES, BF16 = "BYTES", "BF16"
_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    # Half of a float32, which numpy has no name for.
    BF16: np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*_DTYPES, BYTES)
_LENGTH_BYTES = 4
_MOST_AXES = 16
_PNG_BEGINS, _JPEG_BEGINS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def read_shape(shape: object, datatype: str, expected: Expected) -> tuple[int, ...]:
    """The extents of a tensor that holds rows of the model: flat, or each in the model's own shape.

    Args:
        shape: as the request says it.
        datatype: one of `DATATYPES`; of BYTES each element is a picture and so a row.
        expected: what the model takes.

    Raises:
        BadTensor: it is no shape, or none of the model's.
    """
    if not isinstance(shape, list) or not 0 < len(shape) <= _MOST_AXES:
        raise _wrong("shape must be a list of numbers")
    if not all(isinstance(extent, int) and not isinstance(extent, bool) and extent >= 0 for extent in shape):
        raise _wrong(f"shape must hold whole numbers from 0, not {shape}")
    if shape[0] == 0:
        raise _wrong("it must hold at least one row")
    inner = tuple(shape[1:])
    if datatype == BYTES:
        if inner not in ((), (1,)):
            raise _wrong(f"the shape of pictures is [n] or [n, 1], not {shape}")
    elif inner not in ((expected.width,), expected.shape):
        own = list(dict.fromkeys(((expected.width,), expected.shape)))
        wanted = " or ".join(str(["n", *extents]).replace("'", "") for extents in own)
        raise _wrong(f"has the shape {shape}; {expected.what} are {wanted}")
    return tuple(shape)


def size_bytes(datatype: str, shape: tuple[int, ...]) -> int | None:
    """What a tensor weighs in binary; None for BYTES, whose elements have lengths of their own."""
    return None if datatype == BYTES else math.prod(shape) * _DTYPES[datatype].itemsize


def from_bytes(data: memoryview, datatype: str, shape: tuple[int, ...], expected: Expected) -> Rows:
    """The rows [n, width] of a tensor in the protocol's little-endian binary form.

    Raises:
        BadTensor: the bytes are not as many as the shape says, hold no finite numbers or no such pictures.
    """
    if datatype == BYTES:
        return from_pictures(list(_elements(data, shape[0])), expected)
    wanted = size_bytes(datatype, shape)
    if len(data) != wanted:
        raise _wrong(f"{datatype} of the shape {list(shape)} are {wanted} bytes, not {len(data)}")
    numbers: Array = np.frombuffer(data, _DTYPES[datatype])
    if datatype == BF16:
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return _rows(numbers, expected)


def from_numbers(numbers: Array, datatype: str, expected: Expected) -> Rows:
    """The rows [n, width] of a JSON tensor's numbers, in whatever nesting they came.

    Raises:
        BadTensor: one is none of the datatype's; names row and column.
    """
    dtype = _DTYPES[datatype]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        fits = (numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.trunc(numbers))
        if not fits.all():
            row, column = divmod(int(np.argmin(fits)), expected.width)
            raise BadTensor(f"is no {datatype}", row=row, column=column)
    return _rows(numbers, expected)


def from_pictures(pictures: Sequence[bytes], expected: Expected) -> Rows:
    """One row [n, width] of each PNG or JPEG.

    Raises:
        BadTensor: the model's rows are no pictures, or one is not its; names the row.
    """
    rows = np.empty((len(pictures), expected.width), np.float32)
    for number, picture in enumerate(pictures):
        try:
            rows[number] = images.read(picture, _media(picture), expected).reshape(-1)
        except BadTensor as refusal:
            raise BadTensor(refusal.message, row=number) from None
    return finite(rows, expected)


def pictures_of(data: Sequence[object]) -> list[bytes]:
    """The pictures of a JSON tensor of BYTES, which holds them in base64.

    Raises:
        BadTensor: an element is none; names the row.
    """
    pictures = []
    for number, element in enumerate(data):
        if not isinstance(element, str):
            raise BadTensor("must be a picture in base64", row=number)
        try:
            pictures.append(base64.b64decode(element, validate=True))
        except (binascii.Error, ValueError):
            raise BadTensor("is no base64: pictures that stand in JSON are written so", row=number) from None
    return pictures


def _rows(numbers: Array, expected: Expected) -> Rows:
    with np.errstate(over="ignore"):
        return finite(numbers.reshape(-1, expected.width).astype(np.float32, copy=False), expected)


def _elements(data: memoryview, count: int) -> Iterator[bytes]:
    """The elements of BYTES in binary: each four bytes of length, and as many bytes as they say."""
    place = 0
    for number in range(count):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(data[start - _LENGTH_BYTES : start], "little")
        if place > len(data) or start > len(data):
            raise BadTensor("the BYTES end within an element", row=number)
        yield bytes(data[start:place])
    if place != len(data):
        raise _wrong(f"{len(data) - place} bytes are left over after {count} elements of BYTES")


def _media(picture: bytes) -> str:
    if picture.startswith(_PNG_BEGINS):
        return PNG
    if picture.startswith(_JPEG_BEGINS):
        return JPEG
    raise BadTensor("is neither a PNG nor a JPEG")


def _wrong(message: str) -> BadTensor:
    return BadTensor(f"the input {INPUT!r}: {message}")
