"""The nets on which every init is tried."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from autoencoders.init import Earlier, InitChoice, InitContext, initialize, inits
from autoencoders.layers.norms import norms
from autoencoders.models import Autoencoder, architectures
from autoencoders.randomness import stream_seed

NETS: dict[str, dict[str, Any]] = {
    "square": {"shape": (64,), "widths": (64, 64), "code": 64},
    "wide": {"shape": (40,), "widths": (300, 120), "code": 16},
    "narrow": {"shape": (300,), "widths": (48, 24), "code": 6},
    "deep tanh": {"shape": (50,), "widths": (40, 40, 40, 40), "code": 8, "activation": "tanh"},
    "sigmoid": {"shape": (50,), "widths": (80, 40), "code": 8, "activation": "sigmoid", "output": "sigmoid"},
    "linear": {"shape": (40,), "widths": (24,), "code": 8, "activation": "linear"},
    "tied": {"shape": (60,), "widths": (80, 40), "code": 10, "tied": True},
    **{
        f"{norm} norm": {"shape": (60,), "widths": (80, 40), "code": 10, "norm": norm}
        for norm in norms.names()
        if norm != "none"
    },
    "variational": {"shape": (40,), "widths": (80, 40), "code": {"name": "variational", "size": 6}},
    "top k": {"shape": (40,), "widths": (60,), "code": {"name": "top_k", "size": 48, "k": 6}},
    "residual": {"shape": (40,), "name": "dense_residual", "width": 64, "blocks": 3, "code": 8},
    "normed residual": {
        "shape": (40,),
        "name": "dense_residual",
        "width": 64,
        "blocks": 2,
        "code": 8,
        "activation": "tanh",
        "norm": "layer",
    },
    "convolutional": {"shape": (1, 13, 10), "name": "convolutional", "channels": (16, 24), "code": 8},
    "normed convolutional": {
        "shape": (3, 12, 12),
        "name": "convolutional",
        "channels": (12, 16),
        "kernel": 3,
        "code": 8,
        "activation": "tanh",
        "norm": "batch",
    },
    "convolutional residual": {
        "shape": (12, 12),
        "name": "convolutional_residual",
        "channels": (12, 16),
        "blocks": 2,
        "code": 8,
    },
}
"""By name: a row's shape, and the architecture's parameters (`dense`, unless `name` says otherwise)."""


def net(name: str = "wide", **options: Any) -> Autoencoder:
    """A blank net of this name."""
    parameters = {"name": "dense", **NETS[name], **options}
    shape = parameters.pop("shape")
    made: Autoencoder = architectures.call(architectures.choose(parameters), shape)
    return made


def suits(choice: InitChoice | dict[str, Any] | str, name: str) -> bool:
    """Whether the init is meant for the net."""
    return not inits.choose(choice).problems(net(name))


def rows(model: Autoencoder, count: int = 200) -> Tensor:
    """Rows in [0, 1] whose features have means of their own."""
    stream = torch.Generator().manual_seed(99)
    means = torch.rand(model.features, generator=stream)
    return (means + 0.3 * torch.randn(count, model.features, generator=stream)).clamp(0, 1)


def context(model: Autoencoder, seed: int = 0) -> InitContext:
    """A context with data, and with earlier models that are like the new one."""
    data = rows(model)

    def earlier(source: str) -> Earlier:
        before = copy.deepcopy(model)
        drawn = initialize(before, "glorot_normal", InitContext(seed=stream_seed(0, source)))
        assert list(drawn)
        return Earlier(before, (model.features,))

    return InitContext(
        seed=seed,
        rows=lambda count: data[:count],
        data_mean=data.mean(dim=0),
        data_variance=data.var(dim=0, correction=0),
        earlier=earlier,
    )


def initialised(model: Autoencoder, plan: Any, seed: int = 0) -> dict[str, Tensor]:
    """The model's tensors after a plan."""
    for _ in initialize(model, plan, context(model, seed)):
        pass
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def features(name: str) -> int:
    """The numbers in a row of the net of this name."""
    return math.prod(NETS[name]["shape"])
