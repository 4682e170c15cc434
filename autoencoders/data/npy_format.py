"""npy files: the header is read by its own small grammar, and the array behind it.

numpy reads a header as Python (`ast.literal_eval`). CPython before 3.11.8, and 3.12 before 3.12.2, counts how
deep such a reading is in one place for all threads, so that it may fail by no more than another thread's
reading at the same time: `SystemError: AST constructor recursion depth mismatch`. A service reads
arrays in several threads all the time. This takes a third of the time, too.
"""

from __future__ import annotations

import io
import math
import re
import struct
from typing import BinaryIO, NamedTuple

import numpy as np

from autoencoders.data.arrays import Array

LARGEST_HEADER = 64 * 1024
_MAGIC = b"\x93NUMPY"
_LENGTHS = {(1, 0): struct.Struct("<H"), (2, 0): struct.Struct("<I")}
_KEYS = frozenset({"descr", "fortran_order", "shape"})
_ENTRY = re.compile(
    r"""\s*(['"])(?P<key>\w+)\1\s*:\s*
    (?:(['"])(?P<text>[^'"]*)\3 | (?P<truth>True|False) | \((?P<numbers>[^()]*)\) )
    \s*(?P<more>,?)""",
    re.ASCII | re.VERBOSE,
)
# Python 2 wrote some of its integers with an L.
_NUMBERS = re.compile(r"\s*(?:-?\d{1,19}L?\s*,\s*)*(?:-?\d{1,19}L?\s*)?", re.ASCII)
# One number or date of one size: a text of several types would be a record.
_DTYPE = re.compile(r"[<>|=]?[A-Zb-z?]\d*(?:\[\w+\])?", re.ASCII)


class Header(NamedTuple):
    """What stands before the numbers.

    Attributes:
        shape: as written, which may be negative.
        fortran: whether the first axis is the fastest.
        dtype: of one number.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]


def read_header(file: BinaryIO) -> Header:
    """The header of a file of version 1.0 or 2.0, which is then read up to its first number.

    Raises:
        ValueError: it is none, or not of one dtype.
    """
    start = file.read(len(_MAGIC) + 2)
    if len(start) < len(_MAGIC) + 2 or not start.startswith(_MAGIC):
        raise ValueError("it does not begin as an npy file does")
    version = start[-2], start[-1]
    length = _LENGTHS.get(version)
    if length is None:
        raise ValueError(f"version {version[0]}.{version[1]} is not read; 1.0 and 2.0 are")
    promised = file.read(length.size)
    if len(promised) < length.size:
        raise ValueError("it ends within its header")
    size: int = length.unpack(promised)[0]
    if size > LARGEST_HEADER:
        raise ValueError(f"its header has {size:,} bytes; at most {LARGEST_HEADER:,} are read")
    text = file.read(size)
    if len(text) < size:
        raise ValueError("it ends within its header")
    return _parsed(text.decode("latin-1"))


def array_of(content: bytes) -> Array:
    """The array in a file's bytes: a view of them, which cannot be written to.

    Raises:
        ValueError: they are no such file, or hold other than they promise.
    """
    stream = io.BytesIO(content)
    shape, fortran, dtype = read_header(stream)
    offset = stream.tell()
    if dtype.hasobject or any(extent < 0 for extent in shape):
        raise ValueError(f"an array of {dtype} {shape} is not read")
    promised, held = math.prod(shape) * dtype.itemsize, len(content) - offset
    if promised != held:
        raise ValueError(f"its header promises {promised} bytes, but {held} follow")
    flat: Array = np.frombuffer(content, dtype=dtype, offset=offset)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def _parsed(text: str) -> Header:
    found: dict[str, re.Match[str]] = {}
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ValueError("its header is no dictionary")
    place, end, more = 1, len(inner) - 1, True
    while more and (entry := _ENTRY.match(inner, place, end)) is not None:
        found[entry["key"]] = entry
        place, more = entry.end(), bool(entry["more"])
    if inner[place:end].strip() or found.keys() != _KEYS:
        raise ValueError(f"its header is not one of dtype, order and shape: {inner[:200]!r}")
    descr, truth, numbers = found["descr"]["text"], found["fortran_order"]["truth"], found["shape"]["numbers"]
    if truth is None:
        raise ValueError("fortran_order is neither True nor False")
    if descr is None or _DTYPE.fullmatch(descr) is None:
        raise ValueError(f"the dtype {descr!r} is not read")
    try:
        dtype = np.dtype(descr)
    except TypeError:
        raise ValueError(f"the dtype {descr!r} is unknown") from None
    return Header(_shape(numbers), truth == "True", dtype)


def _shape(numbers: str | None) -> tuple[int, ...]:
    # In Python a number in brackets without a comma is no tuple.
    single = numbers is not None and "," not in numbers and numbers.strip()
    if numbers is None or single or _NUMBERS.fullmatch(numbers) is None:
        raise ValueError("the shape is no tuple of whole numbers")
    return tuple(int(number.strip().removesuffix("L")) for number in numbers.split(",") if number.strip())
