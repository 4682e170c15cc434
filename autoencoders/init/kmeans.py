"""Encoders made of centroids: each unit looks for one kind of what its layer reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autoencoders.events import Event
from autoencoders.init.context import InitContext
from autoencoders.init.data_norm import standardise
from autoencoders.init.flow import calibration_rows, follow, summands, warn_of_dead
from autoencoders.init.lift import inits
from autoencoders.init.mirror import Mirror
from autoencoders.init.pca import Rows
from autoencoders.init.principal import principal
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

ITERATIONS = 10
RIDGE = 0.1
"""What is added to the variances before whitening, as a share of their mean (Coates and Ng, 2012)."""


@torch.no_grad()
def lloyd(sample: Tensor, count: int, stream: torch.Generator, iterations: int = ITERATIONS) -> Tensor:
    """Centroids [count, d] of a sample [n, d] after so many of Lloyd's iterations (1982).

    They begin as rows drawn from `stream`; one that loses all its rows takes another row. Where there are
    fewer rows than centroids, the rest are random vectors of the sample's size.
    """
    drawn = sample[torch.randperm(len(sample), generator=stream, device="cpu").to(sample.device)[:count]]
    rest = torch.randn(count - len(drawn), sample.shape[1], generator=stream, device="cpu").to(sample)
    centroids = torch.cat([drawn, rest * sample.std(correction=0)])
    if len(rest):
        return centroids
    for _ in range(iterations):
        # The nearest centroid is that of the largest x.c - |c|^2 / 2.
        nearest = (sample @ centroids.T).sub_(centroids.square().sum(dim=1) / 2).argmax(dim=1)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, sample)
        sizes = torch.bincount(nearest, minlength=count)
        empty = sizes == 0
        others = torch.randint(len(sample), (count,), generator=stream, device="cpu").to(sample.device)
        centroids = torch.where(empty[:, None], sample[others], sums / sizes.clamp_min(1)[:, None])
    return centroids


def templates(sample: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """Weights [count, d] that yield the product of whitened rows with the centroids of whitened rows."""
    directions, variances = principal(sample, min(sample.shape), stream)
    ridge = RIDGE * float(variances.mean()) + 1e-12
    whitener = (directions / (variances[:, None] + ridge).sqrt()).to(sample)
    whitened = (sample - sample.mean(dim=0)) @ whitener.T
    return lloyd(whitened, count, stream) @ whitener


@inits.per_model(
    "kmeans",
    formula="W = centroids of the whitened inputs of the layer, each unit standardised; W_dec ~ W^T",
    reference="Coates and Ng, 2012; Krähenbühl, Doersch, Donahue and Darrell, 2016",
    looks_at_others=True,
)
def kmeans(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rows: Rows = 10_000
) -> Iterator[Event]:
    """Layer by layer each unit of the encoder is a template, a centroid of what its layer reads.

    Ten of Lloyd's iterations on whitened rows, or patches before a convolution; then every unit gets mean 0
    and standard deviation 1; where the decoder is tied, all units of a layer one other that both ways agree
    on. The decoder paints with the same templates: it is the encoder's transpose, its
    scales fitted to come nearest to what the encoder had in its place, the logits by cross-entropy. The
    decoder's residual branches are as `lsuv` makes them.
    """
    seen = calibration_rows(model, context, rows)
    mirror = Mirror(model, seen)
    dead: list[str] = []

    def arrive(layer: Layer, read: Tensor) -> None:
        if layer.part == "decoder":
            mirror.undo(layer, read, {}, context)
            return
        sample = summands(layer, read, rows, context)
        weight = templates(sample, layer.units, context.stream(layer.name))
        layer.assign(weight.reshape(layer.shape))
        if not standardise(layer, read):
            dead.append(layer.name)
        mirror.share_scale(layer, read)

    follow(model, seen, layers, context, arrive=arrive, leave=mirror.keep)
    if dead:
        yield warn_of_dead("kmeans", dead)
