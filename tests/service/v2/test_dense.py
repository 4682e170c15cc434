"""A JSON tensor of plain numbers is read in one go: as key by key, or it is left to that."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.serving import dense, protocol
from service.serving.codecs import Expected
from service.serving.errors import BadTensor

EXPECTED = Expected(6, (2, 3))
ROWS = np.arange(18.0).reshape(3, 6)
FLAT, NESTED = ROWS.reshape(-1).tolist(), ROWS.reshape(3, 2, 3).tolist()
WHOLE = np.arange(18).tolist()


def tensor(**change: Any) -> dict[str, Any]:
    usual = {"name": "input", "shape": [3, 6], "datatype": "FP32", "data": FLAT}
    return {key: value for key, value in {**usual, **change}.items() if value != "left out"}


def asked(*, inputs: Any = None, **more: Any) -> bytes:
    return json.dumps({**more, "inputs": inputs or [tensor()]}).encode()


# What is asked, and whether its numbers are read in one go; they may still be looked at one by one then.
REQUESTS = [
    (asked(), True),
    (asked(id="x", parameters={"timeout": 5}, outputs=[{"name": "code"}]), True),
    (asked(inputs=[tensor(data=ROWS.tolist())]), True),
    (asked(inputs=[tensor(data=NESTED, shape=[3, 2, 3])]), True),
    (asked(inputs=[tensor(shape=[3, 2, 3])]), True),
    (asked(inputs=[{"data": FLAT, **tensor(data="left out")}]), True),
    (asked(id='"data": [[1]]'), True),
    *((asked(inputs=[tensor(data=WHOLE, datatype=name)]), True) for name in ("UINT8", "INT64", "FP64")),
    (asked(inputs=[tensor(data=[*WHOLE[:-1], 256], datatype="UINT8")]), True),
    (asked(inputs=[tensor(data=[*WHOLE[:-1], -1], datatype="UINT32")]), True),
    (asked(inputs=[tensor(data=[*WHOLE[:-1], 2**24 + 1], datatype="INT32")]), True),
    (asked(inputs=[tensor(data=[*WHOLE[:-1], 2**31], datatype="INT32")]), True),
    (asked(inputs=[tensor(data=[*WHOLE[:-1], 2**24 + 1])]), True),
    (asked(inputs=[tensor(data=[*FLAT[:-1], 0.50000001], datatype="UINT8")]), True),
    (asked(inputs=[tensor(data=FLAT, datatype="UINT8")]), True),
    (asked(inputs=[tensor(data=[True] * 18, datatype="BOOL")]), False),
    (asked(inputs=[tensor(data=[*FLAT[:-1], None])]), False),
    (asked(inputs=[tensor(data=[*FLAT[:-1], 1e39])]), False),
    (asked(inputs=[tensor(data=FLAT[:-1])]), True),
    (asked(inputs=[tensor(data=ROWS.tolist(), shape=[3, 2, 3])]), True),
    (asked(inputs=[tensor(data=NESTED)]), True),
    (asked(inputs=[tensor(data=ROWS.reshape(6, 3).tolist())]), False),
    (asked(inputs=[tensor(data=[[*FLAT]])]), False),
    (asked(inputs=[tensor(data=None)], parameters={"data": FLAT}), False),
    (asked(inputs=[tensor(parameters={"data": FLAT}, data=None)]), False),
    (asked(inputs=[tensor(parameters={"binary_data_size": 72})]), True),
    (asked(inputs=[tensor(), tensor()]), False),
    (asked(inputs=[tensor(name="other")]), True),
    (asked()[:-1], False),
    (asked() + b"]", False),
    (b"\xef\xbb\xbf" + asked(), False),
    (b"[" + asked() + b"]", False),
    (b'"data": [1, 2]', False),
    (b"", False),
]


def told(read: Any) -> tuple[Any, ...]:
    try:
        request = read()
    except BadTensor as refusal:
        return refusal.message, refusal.row, refusal.column
    return (request.rows.tolist(), request.flat, request.outputs, request.id, request.deadline_seconds)


@pytest.mark.parametrize(("body", "fast"), REQUESTS)
def test_a_request_is_read_as_key_by_key(body: bytes, fast: bool) -> None:
    careful = told(lambda: protocol._careful(body, b"", EXPECTED))
    assert told(lambda: protocol.read(body, None, EXPECTED)) == careful
    assert (dense.read(body, EXPECTED) is not None) == fast


def test_whole_numbers_are_said_to_be_so() -> None:
    for numbers, whole in ((WHOLE, True), (FLAT, False), ([*WHOLE[:-1], 2**24], False)):
        found = dense.read(asked(inputs=[tensor(data=numbers)]), EXPECTED)
        assert found is not None
        assert found.whole == whole
