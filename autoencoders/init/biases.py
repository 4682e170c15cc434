"""The options that every init has: an output bias that predicts the mean, biases that centre."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autoencoders.init.context import InitContext
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

CENTRING_ROWS = 1024
CLIP = 1e-3


def mean_logits(model: Autoencoder, mean: Tensor) -> Tensor:
    """The logits of the data's mean; shares of a sigmoid are kept a thousandth away from 0 and 1."""
    return torch.logit(mean, eps=CLIP) if model.output_activation == "sigmoid" else mean


@contextmanager
def undisturbed(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Run the model in one mode and leave it as it was: its modes, and the buffers of its norms."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)


def _centring(bias: nn.Parameter) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def subtract(_module: nn.Module, _arguments: Any, out: Tensor) -> Tensor:
        # Over rows, and over places where the output is an image: a channel has one bias.
        mean = out.mean(dim=[axis for axis in range(out.ndim) if axis != 1], keepdim=True)
        bias.sub_(mean.flatten())
        return out - mean

    return subtract


@torch.no_grad()
def centre(model: Autoencoder, layers: Sequence[Layer], context: InitContext) -> None:
    """Subtract from the layers' biases their mean pre-activation over a batch of rows.

    One pass suffices: what a layer passes on is already centred, so that the next one sees what it will see.

    Raises:
        NeedsRows: there is no data.
    """
    rows = context.batch(CENTRING_ROWS).to(next(model.parameters()).device)
    hooks = [
        layer.module.register_forward_hook(_centring(layer.bias))
        for layer in layers
        if layer.bias is not None
    ]
    try:
        # Batch norms must see the batch's own statistics, which one row does not have.
        with undisturbed(model, training=len(rows) > 1):
            model(rows, generator=torch.Generator(rows.device).manual_seed(context.seed))
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def predict_mean(model: Autoencoder, layer: Layer, context: InitContext) -> None:
    """Set the output layer's bias such that the model's mean logit is that of the data's mean.

    What the weights contribute on average is taken off where there are rows to see it on; the weights
    themselves stay the word's own. So the loss at step 0 is that of predicting the mean as far as the last
    weights are small.

    Raises:
        NeedsRows: there is neither a mean nor data.
    """
    if layer.bias is None:
        return
    # A channel of an image has one bias for all of its pixels.
    mean = context.mean().view(layer.units, -1).mean(dim=1)
    target = mean_logits(model, mean).to(layer.bias)
    if context.rows is None:
        layer.bias.copy_(target)
    else:
        centre(model, [layer], context)
        layer.bias.add_(target)
