"""npy files as numpy and others write them are read as numpy reads them; what is none is refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

from autoencoders.data.npy_format import LARGEST_HEADER, array_of

ROWS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def written(text: bytes, body: bytes = ROWS.tobytes(), version: tuple[int, int] = (1, 0)) -> bytes:
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + body


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8", "<f2", "|b1", "<c16", "<U3", "<M8[D]"])
@pytest.mark.parametrize("shape", [(), (6,), (0, 64), (3, 2), (1, 2, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(version: Any, dtype: str, shape: tuple[int, ...], order: Any) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype, order=order)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    read = array_of(stream.getvalue())
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert not read.flags.writeable


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4), }          \n",
        b"{'descr':'<f4','fortran_order':False,'shape':(2,3,4)}\n",
        b"{'shape': (2L, 3L, 4L), 'fortran_order': False, 'descr': '<f4'}",
        b'{"descr": "<f4", "fortran_order": False, "shape": (2, 3, 4,)}\n',
    ],
    ids=["numpy", "tight", "Python 2, in another order", "other quotes"],
)
def test_what_others_write_is_read(text: bytes) -> None:
    np.testing.assert_array_equal(array_of(written(text)), ROWS)
    np.testing.assert_array_equal(array_of(written(text, version=(2, 0))), ROWS)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4)}"
REFUSED = {
    "nothing": b"",
    "half a magic word": b"\x93NUM",
    "no length": b"\x93NUMPY\x01\x00\x10",
    "half a header": written(HEADER.encode())[:40],
    "version 3": written(HEADER.encode(), version=(3, 0)),
    "a header of megabytes": written(b" " * (LARGEST_HEADER + 1), version=(2, 0)),
    "a body cut short": written(HEADER.encode())[:-1],
    "a tail": written(HEADER.encode()) + b"x",
    **{
        f"{old} as {new}": written(HEADER.replace(old, new).encode())
        for old, new in (
            ("{", "["),
            ("}", ""),
            ("(2, 3, 4)", "(24)"),
            ("(2, 3, 4)", "24"),
            ("(2, 3, 4)", "(2, 3, 4.0)"),
            ("(2, 3, 4)", "(True, 3, 8)"),
            ("(2, 3, 4)", "(-2, -3, 4)"),
            ("(2, 3, 4)", "(2,, 3, 4)"),
            ("(2, 3, 4)", f"(0, {2**62})"),
            ("(2, 3, 4)", f"({'9' * 5000}, 1)"),
            ("(2, 3, 4)", "(2, 3, 4) 'more': 1"),
            ("'<f4'", "'|O'"),
            ("'<f4'", "'<f4,<f4'"),
            ("'<f4'", "'<f3'"),
            ("'<f4'", "''"),
            ("'<f4'", "'|V0'"),
            ("'<f4'", "[('a', '<f4')]"),
            ("'<f4'", "__import__('os')"),
            ("False", "0"),
            ("False", "'no'"),
            ("'fortran_order': False, ", ""),
            ("'fortran_order': False, ", "'fortran_order': False, 'more': True, "),
            (", 'shape'", " 'shape'"),
        )
    },
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        array_of(content)
