"""What the objective adds to the loss: a wish about the weights, the code or the encoder's slope.

A word is called with the model, its pass over a batch, the input of that pass and a generator; it returns a
scalar on the scale of the losses (a mean over rows). Words with the trait `slope` differentiate the code by
the input, so the input of the pass requires its gradient. The trait `unsuited` names codes with which a word
makes no sense, and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor
from torch.nn import functional

from autoencoders.catalog import Catalog
from autoencoders.models.autoencoder import Autoencoder, Pass

Penalty = Callable[..., Tensor]
"""A word: `(model, pass, input, generator, **parameters) -> scalar`."""

penalties: Catalog[Penalty] = Catalog("penalties")


@penalties.word("weight_decay", formula="rate/2 sum_W ||W||_F^2")
def weight_decay(
    model: Autoencoder,
    passed: Pass,  # noqa: ARG001
    rows: Tensor,  # noqa: ARG001
    generator: Generator,  # noqa: ARG001
    *,
    rate: PositiveFloat,
) -> Tensor:
    """Half the sum of squared weights, no biases, tied ones once; its gradient is `rate` times the weight."""
    weights = [layer.weight for layer in model.layers() if layer.weight is not None]
    return rate / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()


@penalties.word(
    "sparse_kl",
    formula="rate sum_j KL(target || r_j), r_j = mean_rows sigmoid(code_j)",
    reference="Ng, 2011 (CS294A notes on the sparse autoencoder)",
    unsuited={
        "top_k": "reads a number as the logit of 'on', and the zeros of a top_k code would count as half on; "
        "that code is sparse by itself"
    },
)
def sparse_kl(
    model: Autoencoder,  # noqa: ARG001
    passed: Pass,
    rows: Tensor,
    generator: Generator,  # noqa: ARG001
    *,
    target: Annotated[float, Field(gt=0.0, lt=1.0)],
    rate: PositiveFloat,
) -> Tensor:
    """Each unit of the code shall be on for a share `target` of the rows.

    The code is linear, so a value is read as the logit of "on": its sigmoid is how much the unit is on.
    """
    code = passed.code.to(rows.dtype)
    # log r and log(1 - r) as means of log-sigmoids, which do not leave the numbers where the sigmoid would
    # round to 0 or 1.
    count = torch.log(torch.tensor(float(len(code)), dtype=code.dtype, device=code.device))
    log_on = torch.logsumexp(functional.logsigmoid(code), dim=0) - count
    log_off = torch.logsumexp(functional.logsigmoid(-code), dim=0) - count
    goal = torch.tensor(target, dtype=code.dtype, device=code.device)
    divergence = goal * (goal.log() - log_on) + (1 - goal) * ((1 - goal).log() - log_off)
    return rate * divergence.sum()


@penalties.word("activity_l1", formula="rate mean_rows sum_j |code_j|")
def activity_l1(
    model: Autoencoder,  # noqa: ARG001
    passed: Pass,
    rows: Tensor,
    generator: Generator,  # noqa: ARG001
    *,
    rate: PositiveFloat,
) -> Tensor:
    """The code's absolute values, summed over its units."""
    return rate * passed.code.to(rows.dtype).abs().sum() / len(rows)


@penalties.word(
    "contractive",
    formula="rate mean_rows ||d code / d x||_F^2, estimated by mean_rows ||J^T u||^2, u_j = +1 or -1",
    reference="Rifai, Vincent, Muller, Glorot and Bengio, 2011; Hutchinson, 1990",
    slope=True,
)
def contractive(
    model: Autoencoder,  # noqa: ARG001
    passed: Pass,
    rows: Tensor,
    generator: Generator,
    *,
    rate: PositiveFloat,
) -> Tensor:
    """The encoder's squared slope, by one random projection a row: right on average, for any encoder.

    `E ||J^T u||^2 = ||J||_F^2` for independent signs u, at the cost of one more backward pass through the
    encoder.
    """
    code = passed.code
    signs = torch.randint(0, 2, code.shape, generator=generator, device=code.device).to(code.dtype) * 2 - 1
    (slope,) = torch.autograd.grad(code, rows, signs, create_graph=True)
    return rate * slope.square().sum() / len(rows)
