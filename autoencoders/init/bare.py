"""A model's twin with its effective weights as plain parameters, for inits that differentiate a loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoencoders.init.flow import scale_is_fixed
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder, Pass


def bare_twin(model: Autoencoder) -> Autoencoder:
    """A copy in training mode without parametrizations; its weights and statistics are its own."""
    twin = copy.deepcopy(model)
    for layer in twin.layers():
        module = layer.module
        if parametrize.is_parametrized(module, "weight"):
            # By hand: torch's own way changes the class, which the copy shares with the model.
            assert isinstance(module.weight, Tensor)
            weight = module.weight.detach().clone()
            del module._modules["parametrizations"]
            module.__class__ = parametrize.type_before_parametrizations(module)
            module.register_parameter("weight", nn.Parameter(weight))
    return twin.train()


def scalable(layers: Sequence[Layer]) -> list[str]:
    """The names of the layers with a weight of their own whose scale is the init's to choose."""
    return [layer.name for layer in layers if not layer.tied and not scale_is_fixed(layer)]


def squared_error(forward: Callable[..., Any], rows: Tensor, generator: torch.Generator) -> Tensor:
    """Of the reconstruction, summed over features and averaged over rows."""
    passed: Pass = forward(rows, generator=generator)
    error: Tensor = (passed.output - rows).square().sum(dim=1).mean()
    return error
