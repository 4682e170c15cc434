"""An ONNX graph under construction: nodes in order, and each distinct array held once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 20
"""The first that has GELU as an operator; ONNX Runtime reads it since 1.17."""
IR_VERSION = 9
ROWS = "n"

Numbers = npt.NDArray[Any]


class Graph:
    """A graph whose inputs and outputs are `[n, width]` float32, for any `n`.

    Args:
        name: what the graph is called in the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._held: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, width: int) -> str:
        """A new input `[n, width]`."""
        self._inputs.append(_rows(name, width))
        return name

    def output(self, value: str, name: str, width: int) -> str:
        """Let the value be an output of this name; answers the name, under which the graph may go on."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(_rows(name, width))
        return name

    def array(self, values: Numbers) -> str:
        """A constant; one that is there already is used again, so that tied weights are held once."""
        values = np.ascontiguousarray(values)
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._arrays:
            self._arrays[key] = f"array_{len(self._arrays)}"
            self._held.append(numpy_helper.from_array(values, self._arrays[key]))
        return self._arrays[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Apply an operator; answers its last output (TopK's places, say, come after its values)."""
        return self.nodes(operator, inputs, outputs, **attributes)[-1]

    def nodes(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Apply an operator of several outputs."""
        made = [f"value_{len(self._nodes)}_{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), made, **attributes))
        return made

    def to_bytes(self) -> bytes:
        """The model file: the same bytes for the same model."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, initializer=self._held
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="hourglass",
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def _rows(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [ROWS, width])
