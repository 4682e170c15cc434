"""The Open Inference Protocol's infer requests and answers: JSON, and behind it binary tensors.

The numbers of a plain JSON tensor go straight to an array (`dense.py`). In every other case a slower reader
looks again, key by key and number by number, which also finds the words for what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from service.serving import dense, tensors
from service.serving.codecs import Expected, Rows, json_careful
from service.serving.engine import Action, Answer
from service.serving.errors import BadTensor
from service.serving.forward import LoadedModel

OUTPUTS: dict[str, Action] = {"code": "encode", "reconstruction": "reconstruct", "score": "score"}
"""The outputs of every model and what computes them."""
_ONE_INPUT = f"a model has one input, {tensors.INPUT!r}"
_MICROSECONDS = 1_000_000
_LOOKED_AT = (tensors.BYTES, tensors.BF16, "FP16", "BOOL")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that was asked for, and whether as binary."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What an infer request asks.

    Attributes:
        rows: [n, width].
        flat: whether the rows came flat, else in the model's own shape.
        outputs: in the order of the request.
        id: the request's own, to be echoed; None where it has none.
        deadline_seconds: after which the answer is no use any more; None where it never is.
    """

    rows: Rows
    flat: bool
    outputs: tuple[Wanted, ...]
    id: str | None = None
    deadline_seconds: float | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """What is to be computed."""
        return tuple(OUTPUTS[wanted.name] for wanted in self.outputs)


def header_length(text: str | None, body_bytes: int) -> int | None:
    """How much of a body is JSON, by the `Inference-Header-Content-Length` header; None where it is missing.

    Raises:
        BadTensor: it is no length, or larger than the body.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadTensor(f"Inference-Header-Content-Length must be a number of bytes, not {text[:40]!r}")
    if int(text) > body_bytes:
        raise BadTensor(
            f"Inference-Header-Content-Length is {int(text)}, but the body has {body_bytes} bytes"
        )
    return int(text)


def read(body: bytes, length: int | None, expected: Expected) -> InferRequest:
    """The request in a body without any compression.

    Args:
        body: JSON, then the binary tensors.
        length: the bytes of the JSON; None for all of them; 0 for a body that is the one input itself.
        expected: what the model takes.

    Raises:
        BadTensor: it is no request that the model can answer.
    """
    if length == 0:
        return _raw(body, expected)
    if length is None or length == len(body):
        return _fast(body, expected) or _careful(body, b"", expected)
    return _careful(body[:length], memoryview(body)[length:], expected)


def write(
    model: LoadedModel, request: InferRequest, answers: Mapping[Action, Answer]
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where binary tensors follow."""
    outputs, tails = [], []
    for wanted in request.outputs:
        values = answers[OUTPUTS[wanted.name]].values
        if wanted.name == "reconstruction" and request.flat:
            values = values.reshape(len(request.rows), -1)
        values = np.ascontiguousarray(values, np.float32)
        output: dict[str, Any] = {"name": wanted.name, "datatype": "FP32", "shape": list(values.shape)}
        if wanted.binary:
            tails.append(values.astype("<f4", copy=False).data)
            output["parameters"] = {"binary_data_size": values.nbytes}
        else:
            output["data"] = values.reshape(-1)
        outputs.append(output)
    told: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if request.id is not None:
        told["id"] = request.id
    head = orjson.dumps({**told, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def _raw(body: bytes, expected: Expected) -> InferRequest:
    row_bytes = 4 * expected.width
    if not body or len(body) % row_bytes:
        raise BadTensor(
            f"the body has {len(body)} bytes, which is no multiple of a row's {row_bytes} "
            f"({expected.width} little-endian FP32)"
        )
    shape = (len(body) // row_bytes, expected.width)
    rows = tensors.from_bytes(memoryview(body), "FP32", shape, expected)
    return InferRequest(rows, flat=True, outputs=tuple(Wanted(name, binary=True) for name in OUTPUTS))


def _fast(body: bytes, expected: Expected) -> InferRequest | None:
    """A JSON request with a dense tensor of plain numbers; None for a closer look."""
    found = dense.read(body, expected)
    if found is None:
        return None
    tensor = found.document["inputs"][0]
    shape, datatype = _described(tensor, expected)
    if datatype in _LOOKED_AT or _binary_size(tensor) is not None or not found.fill(shape):
        return None
    if not (found.whole or datatype in ("FP32", "FP64")):
        return None
    return _asked(found.document, tensors.from_numbers(found.numbers, datatype, expected), shape)


def _careful(head: bytes, tail: memoryview | bytes, expected: Expected) -> InferRequest:
    try:
        document = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise BadTensor(f"the request is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadTensor("the request must be a JSON object")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        given = f", not {len(inputs)}" if isinstance(inputs, list) else ""
        raise BadTensor(f'the request must have "inputs" with one tensor{given}: {_ONE_INPUT}')
    tensor = inputs[0]
    shape, datatype = _described(tensor, expected)
    size = _binary_size(tensor)
    if size is None:
        if len(tail):
            raise BadTensor(f"{len(tail)} bytes follow the JSON, but no input has a binary_data_size")
        rest = [{**tensor, "data": None}, {**document, "inputs": None}]
        # numpy takes true for 1; only data that may hold one are looked at number by number.
        flags = head.count(b"true") + head.count(b"false") > _flags(rest)
        rows = _listed(tensor["data"], shape, datatype, expected, flags=flags)
    else:
        if size != len(tail):
            raise BadTensor(f"binary_data_size is {size}, but {len(tail)} bytes follow the JSON")
        rows = tensors.from_bytes(memoryview(tail), datatype, shape, expected)
    return _asked(document, rows, shape)


def _described(tensor: Mapping[str, Any], expected: Expected) -> tuple[tuple[int, ...], str]:
    name, datatype = tensor.get("name"), tensor.get("datatype")
    if name != tensors.INPUT:
        raise BadTensor(f"there is no input {name!r}: {_ONE_INPUT}")
    if datatype not in tensors.DATATYPES:
        raise BadTensor(f"the input {name!r}: datatypes are {', '.join(tensors.DATATYPES)}, not {datatype!r}")
    return tensors.read_shape(tensor.get("shape"), datatype, expected), datatype


def _binary_size(tensor: Mapping[str, Any]) -> int | None:
    """The bytes of a tensor behind the JSON; None where its data stand in it."""
    parameters = _parameters(tensor)
    if any(key.startswith("shared_memory") for key in parameters):
        raise BadTensor("shared memory is not offered here: send the tensor as binary data")
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in tensor):
        raise BadTensor(
            f"the input {tensors.INPUT!r} needs either data or the parameter binary_data_size, and not both"
        )
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise BadTensor(f"binary_data_size must be a number of bytes, not {size!r}")
    return size


def _listed(data: object, shape: tuple[int, ...], datatype: str, expected: Expected, *, flags: bool) -> Rows:
    """The rows of data that stand in JSON, flat or nested as the shape says."""
    if not isinstance(data, list):
        raise BadTensor("data must be a list")
    if datatype == tensors.BYTES:
        elements = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
        if len(elements) != shape[0]:
            raise BadTensor(f"data has {len(elements)} elements; its shape says {shape[0]}")
        return tensors.from_pictures(tensors.pictures_of(elements), expected)
    if datatype in ("FP16", tensors.BF16):
        raise BadTensor(f"{datatype} is sent as binary data alone")
    if any(isinstance(item, list) for item in data):
        if len(data) != shape[0]:
            raise BadTensor(f"data has {len(data)} rows; its shape says {shape[0]}")
        rows, inner = data, shape[1:]
    else:
        if len(data) != math.prod(shape):
            raise BadTensor(f"data has {len(data)} numbers; its shape says {math.prod(shape)}")
        rows, inner = [data[at : at + expected.width] for at in range(0, len(data), expected.width)], None
    if datatype == "BOOL":
        rows, flags = _from_flags(rows), False
    array = json_careful.listed(rows, expected, flags=flags)
    if inner is not None and array.shape[1:] != inner:
        raise BadTensor(f"data is nested as {list(array.shape)}; its shape says {list(shape)}")
    return tensors.from_numbers(np.asarray(array), datatype, expected)


def _from_flags(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_flags(item) for item in value]
    return int(value) if isinstance(value, bool) else value


def _flags(value: Any) -> int:
    """How many a part of a request holds."""
    if isinstance(value, list):
        return sum(map(_flags, value))
    return sum(map(_flags, value.values())) if isinstance(value, dict) else isinstance(value, bool)


def _asked(document: Mapping[str, Any], rows: Rows, shape: tuple[int, ...]) -> InferRequest:
    identity, parameters = document.get("id"), _parameters(document)
    if identity is not None and not isinstance(identity, str):
        raise BadTensor(f"id must be a string, not {identity!r}")
    timeout = parameters.get("timeout", 0)
    if not isinstance(timeout, int) or timeout < 0:
        raise BadTensor(f"timeout must be a number of microseconds, not {timeout!r}")
    return InferRequest(
        rows,
        flat=len(shape) == 2,
        outputs=_outputs(document.get("outputs"), _flag(parameters, "binary_data_output", default=False)),
        id=identity or None,
        deadline_seconds=timeout / _MICROSECONDS or None,
    )


def _outputs(outputs: object, binary: bool) -> tuple[Wanted, ...]:
    if outputs is None or outputs == []:
        return tuple(Wanted(name, binary) for name in OUTPUTS)
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadTensor("outputs must be a list of objects with a name")
    wanted: list[Wanted] = []
    for output in outputs:
        name, parameters = output.get("name"), _parameters(output)
        if name not in OUTPUTS:
            raise BadTensor(f"there is no output {name!r}; a model has {', '.join(OUTPUTS)}")
        if any(name == other.name for other in wanted):
            raise BadTensor(f"the output {name!r} is asked for twice")
        if parameters.get("classification"):
            raise BadTensor("classification is not supported: an autoencoder has no classes")
        if any(key.startswith("shared_memory") for key in parameters):
            raise BadTensor("shared memory is not offered here: ask for binary data")
        wanted.append(Wanted(name, _flag(parameters, "binary_data", default=binary)))
    return tuple(wanted)


def _parameters(holder: Mapping[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadTensor("parameters must be an object")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadTensor(f"{name} must be true or false, not {value!r}")
    return value
