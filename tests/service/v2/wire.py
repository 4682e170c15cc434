"""Requests of the protocol byte by byte, and what is said of their answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np

from tests.service.v2.conftest import Float32

INFER = "/v2/models/digits-code/infer"
LENGTH = "Inference-Header-Content-Length"


def tensor(rows: Float32, **given: Any) -> dict[str, Any]:
    usual = {
        "name": "input",
        "datatype": "FP32",
        "shape": list(rows.shape),
        "data": rows.reshape(-1).tolist(),
    }
    made = {**usual, **given}
    return {key: value for key, value in made.items() if value is not None}


def request(rows: Float32, **given: Any) -> dict[str, Any]:
    return {"inputs": [tensor(rows, **given)], "outputs": [{"name": "code"}]}


def binary(rows: Float32, tail: bytes | None = None, **given: Any) -> dict[str, Any]:
    tail = rows.tobytes() if tail is None else tail
    parameters = {"binary_data_size": len(tail)}
    head = json.dumps(request(rows, **{"data": None, "parameters": parameters, **given})).encode()
    return {"content": head + tail, "headers": {LENGTH: str(len(head))}}


def code_of(answer: httpx.Response) -> Float32:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    made: Float32 = np.array(output["data"], np.float32).reshape(output["shape"])
    return made


def refused(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    (said,) = answer.json().items()
    assert said[0] == "error"
    return str(said[1])
