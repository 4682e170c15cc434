"""What is minimised: corrupt the input, reconstruct the target, penalise, and name every term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, cast

import torch
from torch import Generator, Tensor

from autoencoders.catalog import Choice
from autoencoders.models.autoencoder import Autoencoder, Pass
from autoencoders.objective.augmentations import augmentations, image_shape
from autoencoders.objective.corruptions import corruptions
from autoencoders.objective.losses import losses
from autoencoders.objective.penalties import penalties as penalty_words

Word = Choice | str | Mapping[str, Any]
"""A word of a catalog, as a choice or as one writes it."""


class Pair(NamedTuple):
    """What goes into the model, and what shall come out."""

    input: Tensor
    target: Tensor


@dataclass(frozen=True)
class Terms:
    """A batch's objective by name, all scalars: `loss`, the model's own terms, the penalties."""

    parts: Mapping[str, Tensor]

    @property
    def loss(self) -> Tensor:
        """The reconstruction's part."""
        return self.parts["loss"]

    @property
    def total(self) -> Tensor:
        """The sum: what is minimised."""
        return reduce(torch.add, self.parts.values())


class Objective:
    """A loss, a corruption, an augmentation and penalties as one thing to minimise.

    Args:
        loss: a word of `losses`.
        corruption: a word of `corruptions`, done to the input alone.
        augmentation: a word of `augmentations`, done to input and target.
        penalties: words of `penalties`, each added to the loss.
        shape: one row's shape; augmentations need that of an image.
        bounds: the least and the greatest value of scaled rows, for corruptions that set extremes.

    Raises:
        SpecRefused: the augmentation needs images and rows are none.
    """

    def __init__(
        self,
        loss: Word = "mse",
        corruption: Word = "none",
        augmentation: Word = "none",
        penalties: Sequence[Word] = (),
        *,
        shape: tuple[int, ...] = (),
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self._loss = losses.choose(loss)
        self._corruption = corruptions.choose(corruption)
        self._augmentation = augmentations.choose(augmentation)
        self._penalties = _named(penalties)
        self._shape, self._bounds = shape, bounds
        if augmentations[self._augmentation.name].traits.get("images"):
            image_shape(shape)

    def __call__(self, model: Autoencoder, rows: Tensor, generator: Generator) -> Terms:
        """Every term for a batch of scaled rows, randomness drawn from `generator`."""
        return self.terms(model, self.draw(rows, generator), generator)

    def draw(self, rows: Tensor, generator: Generator) -> Pair:
        """Augment, then corrupt; apart from `terms`, so that an optimizer may look twice at a batch."""
        target: Tensor = augmentations.call(self._augmentation, rows, generator, self._shape)
        return Pair(corruptions.call(self._corruption, target, generator, self._bounds), target)

    def terms(self, model: Autoencoder, pair: Pair, generator: Generator) -> Terms:
        """Every term for a drawn pair."""
        rows = pair.input.detach().requires_grad_() if self._needs_slope() else pair.input
        passed: Pass = model(rows, generator=generator)
        parts: dict[str, Tensor] = {"loss": self.loss(passed, pair.target), **passed.terms}
        for name, penalty in self._penalties.items():
            parts[name] = penalty_words.call(penalty, model, passed, rows, generator)
        return Terms(parts)

    def loss(self, passed: Pass, target: Tensor) -> Tensor:
        """The reconstruction's loss alone, as evaluation reports it."""
        return cast(Tensor, losses.call(self._loss, passed, target))

    def _needs_slope(self) -> bool:
        return any(penalty_words[penalty.name].traits.get("slope") for penalty in self._penalties.values())


def _named(words: Sequence[Word]) -> dict[str, Choice]:
    named: dict[str, Choice] = {}
    for word in words:
        choice = penalty_words.choose(word)
        same = sum(key.partition(".")[0] == choice.name for key in named)
        named[f"{choice.name}.{same + 1}" if same else choice.name] = choice
    return named
