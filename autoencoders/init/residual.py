"""Inits of residual nets: branches that begin at nothing, or small enough for the depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from autoencoders.init.context import InitContext
from autoencoders.init.lift import inits
from autoencoders.init.variance import he_normal
from autoencoders.layers.layer import Branch, Layer
from autoencoders.models.autoencoder import Autoencoder

RESIDUAL = ("dense_residual", "convolutional_residual")

BranchScale = Annotated[float, Field(ge=-1e3, le=1e3)]


def _ends(layer: Layer) -> Branch | None:
    """The branch whose last layer it is."""
    return layer.branch if layer.branch is not None and layer.branch.layers[-1] == layer.name else None


def _without_branch(_model: Autoencoder, layers: Sequence[Layer], _parameters: dict[str, Any]) -> str | None:
    if any(_ends(layer) is not None for layer in layers):
        return None
    return "needs the last layer of a residual branch, and there is none among these layers"


@inits.per_weight(
    "zero_branch",
    formula="x + a F(x) with a = 0; W ~ N(0, gain^2 / fan_in)",
    reference="De and Smith, 2020; Bachlechner et al., 2021",
    architectures=RESIDUAL,
    refuses=_without_branch,
)
def zero_branch(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Branches scaled by zero, so that every block begins as the identity: SkipInit, or ReZero."""
    he_normal(weight, layer, context)
    if branch := _ends(layer):
        branch.scale.zero_()


@inits.per_weight(
    "layer_scale",
    formula="x + a F(x) with a = value for each channel; W ~ N(0, gain^2 / fan_in)",
    reference="Touvron, Cord, Sablayrolles, Synnaeve and Jégou, 2021",
    architectures=RESIDUAL,
    refuses=_without_branch,
)
def layer_scale(weight: Tensor, layer: Layer, context: InitContext, *, value: BranchScale = 1e-4) -> None:
    """Branches scaled by a small number for each channel, so that every block begins near the identity."""
    he_normal(weight, layer, context)
    if branch := _ends(layer):
        branch.scale.fill_(value)


@inits.per_weight(
    "depth_scaled",
    formula="W ~ N(0, gain^2 / fan_in), the last of each branch times 1 / sqrt(L), L branches in the model",
    reference="Hanin and Rolnick, 2018; Child, 2021",
    architectures=RESIDUAL,
    refuses=_without_branch,
)
def depth_scaled(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Branches that together add no more than there was: the stream's variance stays under twice its own."""
    he_normal(weight, layer, context)
    if branch := _ends(layer):
        weight.mul_(1 / math.sqrt(branch.count))


@inits.per_weight(
    "fixup",
    formula=(
        "W ~ L^(-1 / (m - 1)) N(0, gain^2 / fan_in) inside of L branches of m layers; "
        "0 in the last of each and in the output"
    ),
    reference="Zhang, Dauphin and Ma, 2019",
    architectures=RESIDUAL,
    refuses=_without_branch,
)
def fixup(weight: Tensor, layer: Layer, context: InitContext) -> None:
    """Branches that begin at zero and whose first steps together are as long as one layer's, without norms.

    The standard deviation inside of a branch is multiplied by `L^(-1 / (2 m - 2))`. The output layer stands
    where the classifier of the paper does and begins at zero too, so that the first reconstruction is the
    output's bias; the code layer, which every row has to pass, keeps its He weights.
    """
    if _ends(layer) is not None or layer.is_output:
        weight.zero_()
        return
    he_normal(weight, layer, context)
    if layer.branch is not None:
        depth = len(layer.branch.layers)
        weight.mul_(layer.branch.count ** (-1 / (2 * depth - 2)))
