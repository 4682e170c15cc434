"""SOAP, by the library pytorch-optimizer: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat
from torch.optim import Optimizer

from autoencoders.optim.optimizers import NO_FACTORS, Decay, Factors, Momentum, Named, grouped, optimizers


@optimizers.word(
    "soap",
    # Two, and two squares of each side: six for a square matrix, ten where one side is four times the other.
    moments=10,
    steps="entrywise",
    formula="Adam on Q_L^T g Q_R, moved back: Q_L, Q_R the eigenvectors of running means of g g^T and g^T g",
    reference="Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson and Kakade, 2025",
)
def soap(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 3e-3,
    weight_decay: Decay = 0.0,
    momentum: Momentum = 0.95,
    every: Annotated[int, Field(ge=1, le=10_000)] = 10,
    largest: Annotated[int, Field(ge=1, le=10_000)] = 2048,
) -> Optimizer:
    """Adam along the axes in which a matrix's gradients vary independently; the axes follow every few steps.

    A step of a matrix or a vector has a root mean square of one learning rate, as Adam's nearly has (more by
    Adam's correction while means are young): along axes in which a gradient is a few numbers, Adam's own
    length would be that of so many numbers. The first step only looks. `every` is how many steps lie between
    two changes of axes; a matrix's side longer than `largest` keeps its own axes, since finding others costs
    its cube.
    """
    # Over a second, for a hundred optimizers, that a training by any other word need not pay.
    from pytorch_optimizer import SOAP

    return SOAP(
        grouped(named, factors, learning_rate),
        lr=learning_rate,
        betas=(momentum, 0.95),
        weight_decay=weight_decay,
        precondition_frequency=every,
        max_precondition_dim=largest,
        normalize_gradient=True,
    )
