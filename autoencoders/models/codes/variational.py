"""The variational code: each row's code is a normal law, drawn from in training."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from autoencoders.models.codes.code import Code, Size, codes


class Variational(Code):
    """A mean and a log-variance for each number of the code.

    Args:
        size: the numbers in a code.
        beta: the factor of the Kullback-Leibler term.
        free_bits: what a unit may tell of a row, on average, before the term counts it.
    """

    def __init__(self, size: int, beta: float, free_bits: float) -> None:
        super().__init__(size, 2 * size)
        self.beta, self.free_nats = beta, free_bits * math.log(2)

    def forward(
        self, features: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw from each row's law, and the term; without a generator the mean in the draw's place."""
        # Half-precision logarithms would round the term away.
        exact = features if features.dtype == torch.float64 else features.float()
        mean, log_variance = exact.chunk(2, dim=1)
        variance = log_variance.exp()
        divergence = (0.5 * (mean.square() + variance - 1 - log_variance)).mean(dim=0)
        terms = {"kl": self.beta * divergence.clamp(min=self.free_nats).sum()}
        if generator is None:
            return mean, terms
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + variance.sqrt() * noise, terms

    def point(self, features: Tensor) -> Tensor:
        """The means."""
        return features[:, : self.size]


@codes.word(
    "variational",
    formula="z = m + s e, e ~ N(0, 1); beta sum_j max(free_bits ln 2, mean_rows (m^2 + s^2 - ln s^2 - 1)/2)",
    reference="Kingma and Welling, 2014; beta: Higgins et al., 2017; free bits: Kingma et al., 2016",
)
def variational(
    *,
    size: Size,
    beta: Annotated[float, Field(ge=0)] = 1.0,
    free_bits: Annotated[float, Field(ge=0)] = 0.0,
) -> Code:
    """A normal law for each row, held near the standard one; serving and evaluation use its mean."""
    return Variational(size, beta, free_bits)
