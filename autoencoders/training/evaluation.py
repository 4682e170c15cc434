"""How well a model reconstructs rows that it was not trained on, in scaled units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoencoders.data.arrays import Array
from autoencoders.data.scaling import Affine
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.objective import Objective
from autoencoders.training.aligned import aligned

CHUNK_BYTES = 4 * 1024 * 1024
RESIDENT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Evaluation:
    """What held-out rows show.

    Attributes:
        error: squared error of a row, summed over its features, averaged over rows.
        error_per_feature: the same for each feature; they add up to `error`.
        loss: the objective's loss on uncorrupted rows, without penalties.
        explained_variance: 1 - error / (the rows' variance around their own mean); 0 where they do not vary.
        variance: that variance, summed over features.
        rows: how many rows were seen.
    """

    error: float
    error_per_feature: tuple[float, ...]
    loss: float
    explained_variance: float
    variance: float
    rows: int


class HeldOut:
    """The rows to evaluate on, scaled; kept on the device when they are few, else read again each time.

    Args:
        rows: `[rows, features]` in the dataset's units, in memory or mapped.
        affine: the scaling.
        device: where the model lives.
        widest: the most numbers that a pass holds of one row, where that is more than the row's own.
        resident_bytes: up to how many scaled bytes are kept.
    """

    def __init__(
        self,
        rows: Array,
        affine: Affine,
        device: torch.device | str = "cpu",
        *,
        widest: int = 1,
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        self._rows, self._affine, self._device = rows, affine, torch.device(device)
        self.features = int(rows.shape[1])
        self.chunk_rows = max(64, CHUNK_BYTES // (4 * max(self.features, widest)))
        self._resident = self._scaled(0, len(rows)) if rows.size * 4 <= resident_bytes else None

    def __len__(self) -> int:
        return len(self._rows)

    def chunks(self) -> Iterator[Tensor]:
        """Scaled rows in order, always the same cuts."""
        for start in range(0, len(self), self.chunk_rows):
            end = start + self.chunk_rows
            yield self._scaled(start, end) if self._resident is None else self._resident[start:end]

    def _scaled(self, start: int, end: int) -> Tensor:
        return aligned(self._affine.apply(self._rows[start:end]), self._device)


@torch.no_grad()
def evaluate(model: Autoencoder, objective: Objective, held_out: HeldOut) -> Evaluation:
    """Errors of `model` on `held_out`, without a random number; the model keeps its mode.

    Sums are float64, so that the figures do not depend on how many rows there are.
    """
    mode = model.training
    model.eval()
    device = next(model.parameters()).device
    squared = torch.zeros(held_out.features, dtype=torch.float64, device=device)
    total, moment, loss = squared.clone(), squared.clone(), squared.new_zeros(())
    # Around the first chunk's mean, so that the variance is no difference of large numbers.
    centre = next(held_out.chunks()).mean(0)
    for target in held_out.chunks():
        passed = model(target)
        squared += (passed.output - target).square().sum(0, dtype=torch.float64)
        total += (target - centre).sum(0, dtype=torch.float64)
        moment += (target - centre).square().sum(0, dtype=torch.float64)
        loss += objective.loss(passed, target).double() * len(target)
    model.train(mode)
    rows = len(held_out)
    variance = float((moment / rows - (total / rows).square()).clamp_(min=0.0).sum())
    per_feature = (squared / rows).cpu()
    error = float(per_feature.sum())
    explained = 1.0 - error / variance if variance > 0.0 else 0.0
    return Evaluation(error, tuple(per_feature.tolist()), float(loss / rows), explained, variance, rows)


@torch.no_grad()
def row_errors(model: Autoencoder, held_out: HeldOut) -> npt.NDArray[np.float32]:
    """Each row's squared error, summed over its features, in the rows' order; float32."""
    mode = model.training
    model.eval()
    found = [(model(rows).output - rows).square().sum(1).cpu().numpy() for rows in held_out.chunks()]
    model.train(mode)
    return np.concatenate(found).astype(np.float32)
