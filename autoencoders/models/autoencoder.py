"""The autoencoder: encoder, bottleneck and decoder, on flat rows in scaled units."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from autoencoders.layers.activations import Activation
from autoencoders.layers.layer import Layer
from autoencoders.models.codes import Code

OutputActivation: TypeAlias = Literal["sigmoid", "linear"]


@dataclass(frozen=True)
class Pass:
    """One pass through the model.

    Attributes:
        code: [rows, code], as the decoder saw it.
        logits: [rows, features] before the output activation; what a cross-entropy is computed from.
        sigmoid: whether the output activation is the logistic function.
        terms: what the code adds to the objective, by name.
        hidden: outputs of the activations in forward order, where they were asked for.
    """

    code: Tensor
    logits: Tensor
    sigmoid: bool
    terms: dict[str, Tensor] = field(default_factory=dict)
    hidden: tuple[Tensor, ...] = ()

    @functools.cached_property
    def output(self) -> Tensor:
        """The reconstruction, in scaled units; computed when it is first asked for."""
        return torch.sigmoid(self.logits) if self.sigmoid else self.logits


class Bottleneck(nn.Module):
    """The code layer and the code that is made of its features.

    Args:
        linear: the code layer.
        head: what makes a code of its output.
    """

    def __init__(self, linear: nn.Linear, head: Code) -> None:
        super().__init__()
        self.linear, self.head = linear, head

    def forward(
        self, x: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The code in training, with its terms."""
        code, terms = self.head(self.linear(x), generator)
        return code, terms

    def point(self, x: Tensor) -> Tensor:
        """The code without noise."""
        point: Tensor = self.head.point(self.linear(x))
        return point


class Autoencoder(nn.Module):
    """A model that reads flat rows [n, features] and gives them back through a narrower code.

    Args:
        encoder: from rows to hidden features.
        bottleneck: from hidden features to the code.
        decoder: from the code to logits.
        architecture: the word that made it.
        layers: its weight-bearing layers in forward order.
        features: the numbers in one row.
        output: the output activation.
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        *,
        architecture: str,
        layers: Sequence[Layer],
        features: int,
        output: OutputActivation,
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.architecture, self.features = architecture, features
        self.code_size: int = bottleneck.head.size
        self.output_activation: OutputActivation = output
        self._layers = tuple(layers)

    def layers(self) -> list[Layer]:
        """The weight-bearing layers in forward order."""
        return list(self._layers)

    @property
    def widest(self) -> int:
        """The most numbers that any place in it holds of one row: what bounds the rows of one pass."""
        return max(self.features, *(layer.outputs for layer in self._layers))

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, code_size] of rows."""
        return self.bottleneck.point(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions [n, features] of codes, in scaled units."""
        logits: Tensor = self.decoder(z)
        return torch.sigmoid(logits) if self.output_activation == "sigmoid" else logits

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None, keep_hidden: bool = False
    ) -> Pass:
        """A whole pass; `generator` is for codes that draw, `keep_hidden` keeps the activations' outputs."""
        kept: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _module, _args, out: kept.append(out))
            for module in (self.modules() if keep_hidden else ())
            if isinstance(module, Activation)
        ]
        try:
            code, terms = self.bottleneck(self.encoder(x), generator)
            logits = self.decoder(code)
        finally:
            for hook in hooks:
                hook.remove()
        return Pass(code, logits, self.output_activation == "sigmoid", terms, tuple(kept))
