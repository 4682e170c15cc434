"""Modules as ONNX operators: one function for each kind of module that a model is made of.

torch's own exporter knows every operator, and takes seconds of processor time for a model that trains in as
many; the kinds of modules here are few, and every one is held to PyTorch's answers by a test.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autoencoders.errors import AutoencoderError
from autoencoders.export.graph import Graph
from autoencoders.layers.activations import Activation
from autoencoders.layers.layer import TiedLinear
from autoencoders.layers.norms import RMS_EPSILON, ChannelRMSNorm
from autoencoders.models.codes import Code
from autoencoders.models.codes.top_k import TopK
from autoencoders.models.codes.variational import Variational
from autoencoders.models.stack import Bend, Block, Hidden

Float32 = npt.NDArray[np.float32]


class NotExportable(AutoencoderError):
    """A model has a part that no ONNX operator here stands for, or that answers differently as one."""


@functools.singledispatch
def emit(module: nn.Module, graph: Graph, x: str) -> str:  # noqa: ARG001 - for those registered below
    """Append what the module does in evaluation mode to `x`; answers the value that comes out.

    Raises:
        NotExportable: nothing here stands for this kind of module.
    """
    raise NotExportable(f"{type(module).__name__} has no ONNX operator here")


@emit.register
def _sequential(module: nn.Sequential, graph: Graph, x: str) -> str:
    for part in module:
        x = emit(part, graph, x)
    return x


@emit.register
def _hidden(module: Hidden, graph: Graph, x: str) -> str:
    return _bent(module.norm, module.activation, graph, emit(module.linear, graph, x))


@emit.register
def _bend(module: Bend, graph: Graph, x: str) -> str:
    return _bent(module.norm, module.activation, graph, x)


def _bent(norm: nn.Module | None, activation: Activation, graph: Graph, x: str) -> str:
    return emit(activation, graph, x if norm is None else emit(norm, graph, x))


@emit.register
def _block(module: Block, graph: Graph, x: str) -> str:
    branch = emit(module.second, graph, emit(module.first, graph, emit(module.enter, graph, x)))
    scale = _array(module.scale)
    if not isinstance(module.second, nn.Linear):
        scale = scale.reshape(-1, 1, 1)
    return graph.node("Add", x, graph.node("Mul", branch, graph.array(scale)))


@emit.register
def _linear(module: nn.Linear, graph: Graph, x: str) -> str:
    return graph.node("Gemm", x, *_weights(module.weight, module.bias, graph), transB=1)


@emit.register
def _tied(module: TiedLinear, graph: Graph, x: str) -> str:
    source = module._source[0]
    return graph.node("Gemm", x, *_weights(source.weight, module.bias, graph), transB=0)


@emit.register
def _convolution(module: nn.Conv2d, graph: Graph, x: str) -> str:
    return graph.node("Conv", x, *_weights(module.weight, module.bias, graph), **_geometry(module))


@emit.register
def _transposed(module: nn.ConvTranspose2d, graph: Graph, x: str) -> str:
    geometry = {**_geometry(module), "output_padding": list(module.output_padding)}
    return graph.node("ConvTranspose", x, *_weights(module.weight, module.bias, graph), **geometry)


def _geometry(module: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, Any]:
    if isinstance(module.padding, str):
        raise NotExportable(f"padding {module.padding!r} has no numbers")
    return {
        "kernel_shape": list(module.kernel_size),
        "strides": list(module.stride),
        "pads": [*module.padding, *module.padding],
        "dilations": list(module.dilation),
        "group": module.groups,
    }


@emit.register
def _as_image(module: nn.Unflatten, graph: Graph, x: str) -> str:
    # A zero copies the number of rows, whatever it is.
    shape = np.asarray([0, *module.unflattened_size], np.int64)
    return graph.node("Reshape", x, graph.array(shape))


@emit.register
def _as_rows(module: nn.Flatten, graph: Graph, x: str) -> str:  # noqa: ARG001 - what it does, it always does
    return graph.node("Flatten", x, axis=1)


@emit.register(nn.BatchNorm1d)
@emit.register(nn.BatchNorm2d)
def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, graph: Graph, x: str) -> str:
    held = (module.weight, module.bias, module.running_mean, module.running_var)
    arrays = [graph.array(_array(tensor)) for tensor in held if tensor is not None]
    return graph.node("BatchNormalization", x, *arrays, epsilon=module.eps)


@emit.register
def _layer_norm(module: nn.LayerNorm, graph: Graph, x: str) -> str:
    return _standardised(graph, x, 1, module.eps, (_array(module.weight), _array(module.bias)))


@emit.register
def _group_norm(module: nn.GroupNorm, graph: Graph, x: str) -> str:
    return _standardised(
        graph, x, module.num_groups, module.eps, (_array(module.weight), _array(module.bias))
    )


def _standardised(graph: Graph, x: str, groups: int, epsilon: float, affine: tuple[Float32, Float32]) -> str:
    """Each row standardised within groups of its units or channels, then scaled and shifted by channel.

    ONNX Runtime's layer normalization subtracts squares; its instance normalization first subtracts the mean,
    as torch does, and so stays exact where the mean is far from zero.
    """
    shape = graph.node("Shape", x)
    grouped = graph.node("Reshape", x, graph.array(np.asarray([0, groups, -1], np.int64)))
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    even = graph.node(
        "InstanceNormalization", grouped, graph.array(ones), graph.array(zeros), epsilon=epsilon
    )
    # Channels first, whether pixels follow or nothing does.
    flat = graph.node("Reshape", even, graph.array(np.asarray([0, len(affine[0]), -1], np.int64)))
    weight, bias = (graph.array(values.reshape(-1, 1)) for values in affine)
    moved = graph.node("Add", graph.node("Mul", flat, weight), bias)
    return graph.node("Reshape", moved, shape)


@emit.register
def _rms_norm(module: nn.RMSNorm, graph: Graph, x: str) -> str:
    return _by_root_mean_square(graph, x, _array(module.weight), -1)


@emit.register
def _channel_rms_norm(module: ChannelRMSNorm, graph: Graph, x: str) -> str:
    return _by_root_mean_square(graph, x, _array(module.weight).reshape(-1, 1, 1), 1)


def _by_root_mean_square(graph: Graph, x: str, weight: Float32, axis: int) -> str:
    mean = graph.node(
        "ReduceMean", graph.node("Mul", x, x), graph.array(np.asarray([axis], np.int64)), keepdims=1
    )
    size = graph.node("Sqrt", graph.node("Add", mean, graph.array(np.asarray(RMS_EPSILON, np.float32))))
    return graph.node("Mul", graph.node("Div", x, size), graph.array(weight))


@emit.register
def _code(module: Code, graph: Graph, x: str) -> str:  # noqa: ARG001 - the plain code is its features
    if type(module) is not Code:
        raise NotExportable(f"{type(module).__name__} has no ONNX operator here")
    return x


@emit.register
def _mean(module: Variational, graph: Graph, x: str) -> str:
    ends = [graph.array(np.asarray([number], np.int64)) for number in (0, module.size, 1)]
    return graph.node("Slice", x, ends[0], ends[1], ends[2])


@emit.register
def _largest(module: TopK, graph: Graph, x: str) -> str:
    count = graph.array(np.asarray([module.k], np.int64))
    values, places = graph.nodes("TopK", (x, count), 2, axis=1, largest=1, sorted=0)
    zeros = graph.node("ConstantOfShape", graph.node("Shape", x))
    return graph.node("ScatterElements", zeros, places, values, axis=1)


@emit.register
def _activation(module: Activation, graph: Graph, x: str) -> str:
    draw = _ACTIVATIONS.get(module.word)
    if draw is None:
        raise NotExportable(f"the activation {module.word!r} has no ONNX operator here")
    function = module.function
    return draw(graph, x, **(function.keywords if isinstance(function, functools.partial) else {}))


def _leaky(graph: Graph, x: str, *, negative_slope: float) -> str:
    return graph.node("LeakyRelu", x, alpha=negative_slope)


def _elu(graph: Graph, x: str, *, alpha: float) -> str:
    return graph.node("Elu", x, alpha=alpha)


def _silu(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _sine(graph: Graph, x: str, *, omega: float) -> str:
    return graph.node("Sin", graph.node("Mul", x, graph.array(np.asarray(omega, np.float32))))


def _scaled_leaky(graph: Graph, x: str, *, slope: float, scale: float) -> str:
    return graph.node(
        "Mul", graph.node("LeakyRelu", x, alpha=slope), graph.array(np.asarray(scale, np.float32))
    )


def _operator(name: str) -> Callable[..., str]:
    return lambda graph, x: graph.node(name, x)


_ACTIVATIONS: dict[str, Callable[..., str]] = {
    "linear": lambda graph, x: x,  # noqa: ARG005 - one signature for all
    "relu": _operator("Relu"),
    "leaky_relu": _leaky,
    "elu": _elu,
    "selu": _operator("Selu"),
    "gelu": _operator("Gelu"),
    "silu": _silu,
    "softplus": _operator("Softplus"),
    "tanh": _operator("Tanh"),
    "sigmoid": _operator("Sigmoid"),
    "sine": _sine,
    "tailored_leaky_relu": _scaled_leaky,
}


def _weights(weight: Tensor, bias: Tensor | None, graph: Graph) -> list[str]:
    """The effective weight, after any parametrization, and the bias where there is one."""
    return [graph.array(_array(tensor)) for tensor in (weight, bias) if tensor is not None]


def _array(tensor: Tensor | None) -> Float32:
    assert tensor is not None, "every norm here has weights of its own"
    array: Float32 = tensor.detach().to("cpu", torch.float32).numpy()
    return array
