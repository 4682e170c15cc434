"""Trained-looking models of every kind, without a training: what their graphs are held to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from autoencoders import build
from autoencoders.bundle import BundleManifest, Metrics, TrainedModel
from autoencoders.data.manifest import Facts
from autoencoders.data.scaling import Affine
from autoencoders.spec import Spec

SHAPE = (7, 6)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dense": {"name": "dense", "widths": [24, 16]},
    "tied": {"name": "dense", "widths": [24, 16], "tied": True},
    "dense_residual": {"name": "dense_residual", "width": 16, "blocks": 2},
    "convolutional": {"name": "convolutional", "channels": [4, 8], "kernel": 3},
    "convolutional_residual": {"name": "convolutional_residual", "channels": [8, 16]},
}
CODES: dict[str, dict[str, Any]] = {
    "plain": {"name": "plain", "size": 6},
    "variational": {"name": "variational", "size": 6},
    "top_k": {"name": "top_k", "size": 8, "k": 3},
}


def rows(count: int = 300, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Raw rows of shape `SHAPE`, flat, far from zero and of another spread in every column."""
    rng = np.random.default_rng(seed)
    columns = rng.uniform(0.5, 20, 42)
    plane = rng.normal(size=(count, 5)) @ rng.normal(size=(5, 42)) + 0.1 * rng.normal(size=(count, 42))
    return (plane * columns + 3 * columns).astype(np.float32)


def model(architecture: dict[str, Any], **spec: Any) -> TrainedModel:
    """A model of normal weights of the right size, with batch statistics as a training would leave them."""
    seen = rows(seed=1)
    facts = Facts(
        shape=SHAPE,
        dtype="float32",
        rows=300,
        training_rows=270,
        held_out_rows=30,
        minimum=float(seen.min()),
        maximum=float(seen.max()),
    )
    made = Spec.model_validate({"architecture": architecture, **spec}).resolve(facts)
    net = build.model(made, facts)
    affine = Affine(seen.mean(0), (1 / seen.std(0)).astype(np.float32))
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers():
            if (weight := layer.weight) is not None:
                layer.assign(
                    torch.randn(weight.shape, generator=stream) * layer.gain / layer.fans.fan_in**0.5
                )
        for name, parameter in net.named_parameters():
            if parameter.ndim == 1 and "parametrizations" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
        net.train()
        for _ in range(3):
            net(torch.from_numpy(affine.apply(seen)))
    assert any(isinstance(module, nn.Linear) for module in net.modules())
    return TrainedModel(
        _manifest(made, facts, net.code_size), made, net.eval(), affine, np.zeros(1, np.float32)
    )


def _manifest(spec: Spec, facts: Facts, code_size: int) -> BundleManifest:
    return BundleManifest(
        spec=spec.model_dump(mode="json"),
        facts=facts,
        code_size=code_size,
        metrics=Metrics(error=1.0, loss=1.0, error_per_feature=(), explained_variance=0.0),
        baselines={},
        weights_sha256="",
        dataset_sha256="",
        hashes={},
        parameters=0,
        versions={},
    )


def combinations(norms: tuple[str, ...]) -> list[Any]:
    """Every architecture with every code and norm."""
    return [
        (a, c, n) for a in ARCHITECTURES for c in CODES for n in norms if (a, c) != ("tied", "variational")
    ]
