"""The init that carries mean squares through the model, whatever stands in it, and needs no rows.

The model's own forward pass is run once on one row of mean squares instead of numbers: every map is replaced
by what it does to the mean squares of independent inputs, every activation by its Gaussian integral, every
norm by ones. Adds, reshapes and whatever else an architecture does with its numbers need no rules then.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoencoders.events import Event
from autoencoders.init.biases import undisturbed
from autoencoders.init.context import InitContext, NeedsRows
from autoencoders.init.flow import scale_is_fixed
from autoencoders.init.lift import inits
from autoencoders.layers.activations import Activation
from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.layers.meanfield import moments
from autoencoders.layers.norms import ChannelRMSNorm
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.models.codes import Code

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, ChannelRMSNorm)

EXACT_VALUES = 16
SAMPLES = 2**21


def sums(layer: Layer, squares: Tensor, read: Tensor) -> Tensor:
    """The mean squares that a map yields: those that it reads, summed as it sums its inputs.

    Args:
        layer: the map's.
        squares: what each product counts, in the layer's layout: its weight's mean square.
        read: [1, ...]; mean squares.
    """
    module = layer.module
    if isinstance(module, nn.Conv2d):
        return functional.conv2d(read, squares, stride=module.stride, padding=module.padding)
    if isinstance(module, nn.ConvTranspose2d):
        assert not isinstance(module.padding, str), "convolutions here state their padding in pixels"
        return functional.conv_transpose2d(
            read,
            squares.transpose(0, 1),
            stride=module.stride,
            padding=module.padding,
            output_padding=module.output_padding,
        )
    return functional.linear(read, squares)


def bent(activation: Activation, variances: Tensor) -> Tensor:
    """`E phi(z)^2` with `z ~ N(0, variance)` for each variance, in the same shape."""
    # Float32's last digits would make many variances of one.
    rounded = variances.double().clamp(min=0).mul(1e6).round().div(1e6)
    distinct, places = torch.unique(rounded, return_inverse=True)
    if len(distinct) <= EXACT_VALUES:
        table = torch.tensor([moments(activation.function, variance=float(v)).second for v in distinct])
        return table.to(variances)[places.flatten()].reshape(variances.shape)
    # Images have other variances near their edges: between so many nodes the integral is all but straight.
    nodes = torch.linspace(float(distinct[0]), float(distinct[-1]), EXACT_VALUES, dtype=torch.float64).to(
        distinct
    )
    values = [moments(activation.function, variance=float(v)).second for v in nodes]
    table = torch.tensor(values, dtype=torch.float64, device=variances.device)
    position = (distinct - nodes[0]) / (nodes[1] - nodes[0])
    low = position.floor().long().clamp(0, EXACT_VALUES - 2)
    found: Tensor = table[low] + (position - low) * (table[low + 1] - table[low])
    return found.to(variances)[places.flatten()].reshape(variances.shape)


class _Carrier:
    """The hooks that make a forward pass one of mean squares.

    Args:
        owned: the layers whose weights are drawn on the way.
        context: of the initialisation.
    """

    def __init__(self, owned: Sequence[Layer], context: InitContext) -> None:
        self._owned = {layer.name for layer in owned}
        self._context = context

    def layer(self, layer: Layer, read: Tensor) -> Tensor:
        if layer.name not in self._owned or layer.tied:
            return sums(layer, _effective(layer).square(), read)
        counted = sums(layer, torch.ones(layer.shape, dtype=read.dtype, device=read.device), read)
        # Counted with the edges, at which a convolution sums less.
        mean = float(counted.mean())
        variance = 1 / mean if mean > 0 else 1 / layer.fans.fan_in
        weight = torch.empty(layer.shape)
        weight.normal_(0, math.sqrt(variance), generator=self._context.stream(layer.name))
        layer.assign(weight)
        if scale_is_fixed(layer):
            variance = float(_effective(layer).square().mean())
        return counted * variance

    def code(self, head: Code, read: Tensor) -> Tensor:
        """Mean squares of the code: exact where it is its features, else over draws of Gaussian features."""
        if type(head) is Code:
            return read
        stream = self._context.stream("autoinit", "code")
        draws = torch.randn(max(64, SAMPLES // head.features), head.features, generator=stream)
        code, _ = head(
            draws.to(read) * read.sqrt(), torch.Generator(read.device).manual_seed(self._context.seed)
        )
        # Units are drawn alike, so that all share one value.
        square: Tensor = code.to(read).square().mean()
        return square.expand(1, head.size)


def _effective(layer: Layer) -> Tensor:
    if isinstance(layer.module, TiedLinear):
        bias = layer.module.bias
        like = next(layer.module.parameters())
        image = layer.module.forward(torch.eye(layer.shape[1], dtype=like.dtype, device=like.device))
        return (image if bias is None else image - bias).t()
    assert layer.weight is not None, "only tied layers have none of their own"
    return layer.weight


def _instead(made: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Any], Tensor]:
    return lambda _module, arguments, _out: made(arguments[0])


def carry(model: Autoencoder, owned: Sequence[Layer], context: InitContext, read: Tensor) -> Tensor:
    """Draw the owned layers' weights so that each yields a mean square of 1; answers that of the logits.

    Args:
        model: the model.
        owned: the layers to draw.
        context: of the initialisation.
        read: [1, features]; the rows' mean squares.
    """
    carrier = _Carrier(owned, context)
    branches = {id(layer.branch): layer.branch for layer in model.layers() if layer.branch is not None}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(undisturbed(model, training=False))

        def replace(module: nn.Module, made: Callable[[Tensor], Tensor]) -> None:
            stack.callback(module.register_forward_hook(_instead(made)).remove)

        for layer in model.layers():
            replace(layer.module, functools.partial(carrier.layer, layer))
        for module in model.modules():
            if isinstance(module, Activation):
                replace(module, functools.partial(bent, module))
            elif isinstance(module, NORMS):
                replace(module, torch.ones_like)
        for branch in branches.values():
            # A branch adds the square of its scale times its mean squares.
            stack.callback(branch.scale.copy_, branch.scale.clone())
            branch.scale.square_()
        code = carrier.code(model.bottleneck.head, model.bottleneck.linear(model.encoder(read)))
        logits: Tensor = model.decoder(code)
    return logits


@inits.per_model(
    "autoinit",
    formula="Var W = 1 / (fan_in (var_in + mean_in^2)), both carried through the model by quadrature",
    reference="Bingham and Miikkulainen, 2023",
    looks_at_others=True,
)
def autoinit(model: Autoencoder, layers: Sequence[Layer], context: InitContext) -> Iterator[Event]:
    """Normal weights after which every layer yields a mean square of 1, whatever norms and adds lie between.

    It looks at no rows: of the data it uses the features' means and variances, where they are known, else it
    takes rows to be standardised. `fan_in` counts what really is summed, edges of images included.
    """
    like = next(model.parameters())
    try:
        read = context.second_moment().to(like)[None]
    except NeedsRows:
        read = torch.ones(1, model.features, dtype=like.dtype, device=like.device)
    carry(model, layers, context, read)
    yield from ()
