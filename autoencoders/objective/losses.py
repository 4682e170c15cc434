"""How far a reconstruction is from its target: summed over a row's features, averaged over rows.

A word is called with the model's pass and the target. The reduction is the same for every word, so that
learning rates and penalties' rates mean the same whatever the loss. Under a lower precision the difference
is still taken in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from autoencoders.catalog import Catalog
from autoencoders.models.autoencoder import Pass

VARIANCE_FLOOR = 1e-6
"""The least variance `gaussian_nll` believes in: a standard deviation of a thousandth, in scaled units."""


Loss = Callable[..., Tensor]
"""A word: `(pass, target, **parameters) -> scalar`, the target being `[rows, features]`."""

losses: Catalog[Loss] = Catalog("losses")


@losses.word("mse", formula="mean_rows sum_j (y_j - x_j)^2")
def mse(passed: Pass, target: Tensor) -> Tensor:
    """Squared error: the SE of the literature, summed over the row."""
    return functional.mse_loss(passed.output.to(target.dtype), target, reduction="sum") / len(target)


@losses.word(
    "bce",
    formula="mean_rows sum_j [softplus(a_j) - x_j a_j], y = sigmoid(a)",
    reference="Hinton and Salakhutdinov, 2006",
    output="sigmoid",
    targets=(0.0, 1.0),
)
def bce(passed: Pass, target: Tensor) -> Tensor:
    """Cross-entropy on the logits of a sigmoid output; targets must lie in [0, 1]."""
    return functional.binary_cross_entropy_with_logits(
        passed.logits.to(target.dtype), target, reduction="sum"
    ) / len(target)


@losses.word("l1", formula="mean_rows sum_j |y_j - x_j|")
def l1(passed: Pass, target: Tensor) -> Tensor:
    """Absolute error: its optimum is the median, so that rare large errors weigh less."""
    return functional.l1_loss(passed.output.to(target.dtype), target, reduction="sum") / len(target)


@losses.word(
    "huber", formula="mean_rows sum_j h(y_j - x_j), h(e) = e^2/2 if |e| <= delta else delta (|e| - delta/2)"
)
def huber(passed: Pass, target: Tensor, *, delta: PositiveFloat = 1.0) -> Tensor:
    """Half the squared error up to `delta`, linear beyond."""
    return functional.huber_loss(passed.output.to(target.dtype), target, reduction="sum", delta=delta) / len(
        target
    )


@losses.word(
    "gaussian_nll",
    formula="d/2 [log(2 pi s^2) + v/s^2], v = mean over rows and features of (y - x)^2, s^2 = v + 1e-6",
    reference="Rybkin, Daniilidis and Levine, 2021 (the optimal sigma)",
)
def gaussian_nll(passed: Pass, target: Tensor) -> Tensor:
    """Gaussian negative log-likelihood with the one variance that fits the batch best.

    The variance is no parameter: given the reconstructions, the likelihood of the batch is greatest at `s^2
    = mean_rows,j (y_j - x_j)^2`, and that value is put in (with a floor, which keeps the loss finite at a
    perfect reconstruction). So the loss is `d/2 log` of the squared error plus a constant: it weighs the
    last tenth of an error like the first, and a penalty or a KL term beside it is in nats. The variance is
    the batch's, hence the held-out loss depends, slightly, on the size of evaluation's chunks, which is
    fixed.
    """
    features = target.shape[1]
    squared = functional.mse_loss(passed.output.to(target.dtype), target)
    variance = squared + VARIANCE_FLOOR
    return features / 2 * (math.log(2 * math.pi) + torch.log(variance) + squared / variance)
