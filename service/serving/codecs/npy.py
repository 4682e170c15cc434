"""npy: numpy's own file of one array, read as a view of the body and never on its header's word alone."""

from __future__ import annotations

import io

import numpy as np

from autoencoders.data.npy_format import array_of
from service.serving.codecs.rows import Array, Reply
from service.serving.errors import BadTensor

_DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


def read(body: bytes) -> Array:
    """The array in the file, a view of the body.

    Raises:
        BadTensor: it is no such file, holds no numbers, or not as many as it promises.
    """
    try:
        array = array_of(body)
    except ValueError as error:
        raise BadTensor(f"the body is no npy file: {error}", field="body") from None
    if array.dtype.kind + str(array.dtype.itemsize) not in _DTYPES:
        raise BadTensor(f"the array's dtype is {array.dtype}; numbers are needed", field="body")
    return array


def write(reply: Reply) -> bytes:
    """The main array alone."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(reply.values), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
