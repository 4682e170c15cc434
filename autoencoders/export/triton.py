"""A trained model as a model repository for NVIDIA's Triton Inference Server.

    faces/config.pbtxt          faces/3/model.onnx            rows -> code and reconstruction
    faces_encoder/config.pbtxt  faces_encoder/3/model.onnx    rows -> code
    faces_decoder/config.pbtxt  faces_decoder/3/model.onnx    code -> rows

Rows have the dataset's own shape and units, so a client of `/v2` here is a client of Triton there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from autoencoders.bundle import CODE, INPUT, RECONSTRUCTION

File: TypeAlias = Path | bytes
MAX_BATCH_SIZE = 1024
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, the numbers of a row in the graph, and a row's shape for a client."""

    name: str
    width: int
    shape: tuple[int, ...]

    def to_text(self) -> str:
        """As a message of the configuration; the graph itself takes flat rows."""
        lines = [f"name: {json.dumps(self.name)}", "data_type: TYPE_FP32", f"dims: {list(self.shape)}"]
        if self.shape != (self.width,):
            lines.append(f"reshape {{ shape: [{self.width}] }}")
        return "\n".join(f"    {line}" for line in lines)


def repository(
    name: str,
    version: int,
    *,
    shape: tuple[int, ...],
    code_size: int,
    graphs: tuple[File, File, File],
) -> dict[str, File]:
    """The repository's files by their path; those that are on a disk already are answered as they lie there.

    Args:
        name: of the model, which becomes its folder's.
        version: of the model; Triton serves the highest folder there is.
        shape: of one row.
        code_size: numbers in a code.
        graphs: encoder, decoder and whole, as ONNX files or where they lie.
    """
    width = 1
    for size in shape:
        width *= size
    rows, code = Tensor(INPUT, width, shape), Tensor(CODE, code_size, (code_size,))
    back = Tensor(RECONSTRUCTION, width, shape)
    encoder, decoder, whole = graphs
    return {
        **_model(name, version, whole, [rows], [code, back]),
        **_model(f"{name}_encoder", version, encoder, [rows], [code]),
        **_model(f"{name}_decoder", version, decoder, [code], [back]),
    }


def _model(
    name: str, version: int, graph: File, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[str, File]:
    config = configuration(name, inputs, outputs)
    return {f"{name}/config.pbtxt": config.encode(), f"{name}/{version}/model.onnx": graph}


def configuration(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """A `config.pbtxt`; `dims` leave the batch out, which Triton adds where `max_batch_size` is not 0."""
    return (
        f"name: {json.dumps(name)}\n"
        f"platform: {json.dumps(PLATFORM)}\n"
        f"max_batch_size: {MAX_BATCH_SIZE}\n"
        f"{_messages('input', inputs)}{_messages('output', outputs)}"
        "dynamic_batching {\n}\n"
    )


def _messages(field: str, tensors: Sequence[Tensor]) -> str:
    return "".join(f"{field} [\n  {{\n{tensor.to_text()}\n  }}\n]\n" for tensor in tensors)
