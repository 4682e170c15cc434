"""npy: numpy's own file of one array; its header is read here, so that nothing is allocated on its word."""

from __future__ import annotations

import io
import math
import tokenize

import numpy as np

from service.serving.codecs.rows import Array, Reply
from service.serving.errors import BadTensor

_DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})
_LARGEST_HEADER = 64 * 1024
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read(body: bytes) -> Array:
    """The array in the file, a view of the body.

    Raises:
        BadTensor: it is no such file, holds no numbers, or not as many as it promises.
    """
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _READERS[version](stream, max_header_size=_LARGEST_HEADER)
    except KeyError:
        raise BadTensor("an npy file of version 1.0 or 2.0 is needed", field="body") from None
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError, RecursionError) as error:
        raise BadTensor(f"the body is no npy file: {error}", field="body") from None
    if dtype.hasobject or dtype.kind + str(dtype.itemsize) not in _DTYPES:
        raise BadTensor(f"the array's dtype is {dtype}; numbers are needed", field="body")
    if any(extent < 0 for extent in shape):
        raise BadTensor("the array's shape is negative", field="body")
    promised, held = math.prod(shape) * dtype.itemsize, len(body) - stream.tell()
    if promised != held:
        raise BadTensor(f"its header promises {promised} bytes, but {held} follow", field="body")
    flat = np.frombuffer(body, dtype=dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def write(reply: Reply) -> bytes:
    """The main array alone."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(reply.values), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
