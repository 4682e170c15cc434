"""What each layer's output goes into: the other side of `Layer.fed_by`."""

from __future__ import annotations

from itertools import pairwise

from autoencoders.layers.activations import Activation
from autoencoders.models.autoencoder import Autoencoder


def followed_by(model: Autoencoder) -> dict[str, Activation | None]:
    """The activation that each layer's output goes into, by the layer's name; None where that is linear.

    What is added to a residual stream goes into the activation through which the stream is read next.
    """
    layers = model.layers()
    after: dict[str, Activation | None] = {one.name: following.fed_by for one, following in pairwise(layers)}
    return after | {layers[-1].name: None}
