"""The nets on which every init is tried."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autoencoders.init import InitContext, initialize
from autoencoders.layers.norms import norms
from autoencoders.models import Autoencoder, architectures

NETS: dict[str, dict[str, Any]] = {
    "square": {"features": 64, "widths": (64, 64), "code": 64},
    "wide": {"features": 40, "widths": (300, 120), "code": 16},
    "narrow": {"features": 300, "widths": (48, 24), "code": 6},
    "deep tanh": {"features": 50, "widths": (40, 40, 40, 40), "code": 8, "activation": "tanh"},
    "sigmoid": {"features": 50, "widths": (80, 40), "code": 8, "activation": "sigmoid", "output": "sigmoid"},
    "tied": {"features": 60, "widths": (80, 40), "code": 10, "tied": True},
    **{
        f"{norm} norm": {"features": 60, "widths": (80, 40), "code": 10, "norm": norm}
        for norm in norms.names()
        if norm != "none"
    },
}


def net(name: str = "wide", **options: Any) -> Autoencoder:
    """A blank net of this name."""
    parameters = {**NETS[name], **options}
    features = parameters.pop("features")
    made: Autoencoder = architectures.call(architectures.choose("dense", **parameters), (features,))
    return made


def rows(model: Autoencoder, count: int = 200) -> Tensor:
    """Rows in [0, 1] whose features have means of their own."""
    stream = torch.Generator().manual_seed(99)
    means = torch.rand(model.features, generator=stream)
    return (means + 0.3 * torch.randn(count, model.features, generator=stream)).clamp(0, 1)


def context(model: Autoencoder, seed: int = 0) -> InitContext:
    """A context with data."""
    data = rows(model)
    return InitContext(seed=seed, rows=lambda count: data[:count], data_mean=data.mean(dim=0))


def initialised(model: Autoencoder, plan: Any, seed: int = 0) -> dict[str, Tensor]:
    """The model's tensors after a plan."""
    for _ in initialize(model, plan, context(model, seed)):
        pass
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
