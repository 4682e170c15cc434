"""The decoder as the encoder's mirror: each map the adjoint of its counterpart, scaled to undo it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoencoders.init.biases import CLIP
from autoencoders.init.context import InitContext
from autoencoders.init.flow import CALIBRATION_ROWS, by_unit, mean_yield, scale_is_fixed, settle
from autoencoders.init.following import followed_by
from autoencoders.init.lsuv import orthogonal_weight
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

_NEWTON_STEPS = 20
_ROUNDS = 30


def trunk(model: Autoencoder) -> list[Layer]:
    """The layers that do not stand in a residual branch, in forward order."""
    return [layer for layer in model.layers() if layer.branch is None]


class Mirror:
    """Which of the encoder's layers each of the decoder's undoes, and what stood before it.

    Args:
        model: the model; its decoder is its encoder turned round.
        rows: [n, features]; those that flow through it.
    """

    def __init__(self, model: Autoencoder, rows: Tensor) -> None:
        layers = trunk(model)
        self._down = [layer for layer in layers if layer.part != "decoder"]
        up = [layer for layer in layers if layer.part == "decoder"]
        places = range(len(self._down) - 1, -1, -1)
        self._place = dict(zip((layer.name for layer in up), places, strict=False))
        self._seen: dict[str, Tensor] = {}
        self._tied = {layers[self._place[layer.name]].name: layer for layer in up if layer.tied}
        self._after = followed_by(model)
        self._rows, self._sigmoid = rows, model.output_activation == "sigmoid"

    def keep(self, layer: Layer, yielded: Tensor) -> None:
        """Note what a layer of the encoder yielded: it is what the decoder shall yield there."""
        if layer.part != "decoder" and layer.branch is None:
            self._seen[layer.name] = yielded

    def counterpart(self, layer: Layer) -> Layer | None:
        """The encoder's layer that this one of the decoder undoes."""
        place = self._place.get(layer.name)
        return None if place is None else self._down[place]

    def wanted(self, layer: Layer) -> Tensor:
        """What the encoder had where the decoder's layer yields: rows, or what went into an activation."""
        place = self._place[layer.name]
        return self._rows if place == 0 else self._seen[self._down[place - 1].name]

    @torch.no_grad()
    def share_scale(self, layer: Layer, read: Tensor) -> None:
        """Scale a layer of the encoder whose weight is the decoder's too, such that the way back is right.

        Nobody can fit the scale of a tied decoder: what its transpose yields is scaled along. So both ways
        are scaled at once, weight and bias, until there and back comes nearest to what there was. Where the
        decoder has a weight of its own, or the scale is a norm's, nothing happens.

        Args:
            layer: of the encoder, its weight and bias set.
            read: what it reads.
        """
        back = self._tied.get(layer.name)
        if back is None or layer.weight is None or scale_is_fixed(layer):
            return
        read, activation = read[:CALIBRATION_ROWS], self._after[layer.name]
        aim = self.wanted(back)[: len(read)]
        level, logits = aim.mean(dim=0), back.is_output and self._sigmoid
        level = torch.logit(level, eps=CLIP) if logits else level
        for _ in range(_ROUNDS):
            there = layer.module.forward(read)[:, : back.shape[1]]
            if back.normed:
                there = there / there.std(correction=0).clamp_min(1e-12)
            found = back.module.forward(there if activation is None else activation(there))
            found = found - found.mean(dim=0)
            factor = (
                _logistic_factor(found, level, aim)
                if logits
                else _linear_factor(found, aim - aim.mean(dim=0))
            )
            layer.assign(layer.weight * factor**0.5)
            if layer.bias is not None:
                layer.bias.mul_(factor**0.5)
            if abs(factor - 1) < 1e-3:
                return

    @torch.no_grad()
    def undo(
        self,
        layer: Layer,
        read: Tensor,
        undoing: Mapping[str, Tensor],
        context: InitContext,
        *,
        scaled: bool = True,
    ) -> None:
        """Make a decoder's layer undo its counterpart.

        Args:
            layer: of the decoder; in a residual branch it has no counterpart, and becomes orthogonal.
            read: what it reads.
            undoing: by name, weights in the counterparts' layout whose adjoint is to be taken instead of that
                of their own.
            context: for a layer without counterpart, or whose shape is not that of the adjoint.
            scaled: whether the scale is fitted.
        """
        other = self.counterpart(layer)
        turned = None
        if other is not None:
            weight = undoing.get(other.name, other.weight)
            turned = None if weight is None else weight.transpose(0, 1)[:, : layer.shape[1]]
        if other is None or (not layer.tied and (turned is None or turned.shape != layer.shape)):
            layer.assign(orthogonal_weight(layer, context))
            settle(layer, read[:CALIBRATION_ROWS])
            return
        if turned is not None and not layer.tied:
            layer.assign(turned)
        self.fit(layer, read, scaled=scaled)

    @torch.no_grad()
    def fit(self, layer: Layer, read: Tensor, *, scaled: bool) -> None:
        """Set a decoder layer's bias, and where `scaled` its weight's scale, to come nearest to the mirror.

        The mirror of what it yields is what the encoder had there before its activation, or the rows; logits
        are fitted by cross-entropy, anything else by least squares. No bias may stand on the layer yet.
        """
        wanted = self.wanted(layer)
        mean = mean_yield(layer, read)
        yielded = layer.module.forward(read[:CALIBRATION_ROWS])
        # Of all rows the means, which cost little; of some the scale.
        target = wanted.mean(dim=0, keepdim=True).reshape(1, *yielded.shape[1:])
        level = by_unit(target).mean(dim=0)
        found, aim = by_unit(yielded) - mean, by_unit(wanted[: len(yielded)].reshape(yielded.shape))
        logits = layer.is_output and self._sigmoid
        if logits:
            level = torch.logit(level, eps=CLIP)
        factor = 1.0
        if scaled and layer.weight is not None and not scale_is_fixed(layer):
            factor = _logistic_factor(found, level, aim) if logits else _linear_factor(found, aim)
            layer.assign(layer.weight * factor)
        if layer.bias is not None:
            layer.bias.copy_(level - factor * mean)


def _linear_factor(found: Tensor, aim: Tensor) -> float:
    """The `c > 0` of the least |c found - aim|^2; 1 where there is none."""
    size, shared = float(found.square().sum()), float((found * aim).sum())
    return shared / size if size > 0 and shared > 0 else 1.0


def _logistic_factor(found: Tensor, level: Tensor, aim: Tensor) -> float:
    """The `c > 0` of the least cross-entropy of `sigmoid(level + c found)` and `aim`, by Newton's steps."""
    factor = 0.0
    for _ in range(_NEWTON_STEPS):
        share = torch.sigmoid(level + factor * found)
        slope = float((found * (share - aim)).sum())
        bend = float((found.square() * share * (1 - share)).sum())
        if not bend > 0:
            break
        step = slope / bend
        factor -= step
        if abs(step) < 1e-4 * abs(factor):
            break
    return factor if factor > 0 else 1.0
