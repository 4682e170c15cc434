"""Bytes in a machine's words, for what numba compiles: it has no names of its own for these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

COMMA = ord(",")

compiled = partial(numba.njit, nogil=True, boundscheck=False, error_model="numpy")
"""Of a function: one in machine code, without the interpreter's lock."""


def _made(typed: Callable[..., Any]) -> Any:
    """A function for compiled code, of one that says its types and makes its machine code."""
    return intrinsic(typed)


def _load(builder: Any, place: Any, kind: ir.Type) -> Any:
    """Machine code that loads something from an address, wherever it is aligned."""
    loaded = builder.load(builder.inttoptr(place, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _address(_: Any, text: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        proxy = cgutils.create_struct_proxy(signature.args[0])  # type: ignore[no-untyped-call]
        array = proxy(context, builder, arguments[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(text), code


def _byte(_: Any, place: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(_load(builder, arguments[0], ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64), code


def _eight(_: Any, place: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, arguments[0], ir.IntType(64))

    return types.uint64(types.int64), code


def _commas(_: Any, place: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bytes_64 = ir.VectorType(ir.IntType(8), 64)
        loaded = _load(builder, arguments[0], bytes_64)
        same = builder.icmp_unsigned("==", loaded, ir.Constant(bytes_64, [COMMA] * 64))
        return builder.bitcast(same, ir.IntType(64))

    return types.uint64(types.int64), code


def _trailing_zeros(_: Any, word: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


address_of: Callable[[Any], int] = _made(_address)
"""Where an array's items are. Handed on in its place, it has no references to be counted."""
load_byte: Callable[[int], int] = _made(_byte)
"""The byte at an address."""
load_eight: Callable[[int], np.uint64] = _made(_eight)
"""Eight bytes as one number, the first of them the lowest, as on every machine that numba knows."""
find_commas: Callable[[int], np.uint64] = _made(_commas)
"""Which of sixty-four bytes are commas, a bit for each."""
trailing_zeros: Callable[[np.uint64], int] = _made(_trailing_zeros)
"""The bits below the lowest that is set; 64 where none is."""
