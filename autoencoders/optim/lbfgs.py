"""L-BFGS, by torch's own implementation: quasi-Newton steps with a line search, for large batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import nn

from autoencoders.errors import SpecRefused
from autoencoders.optim.optimizers import NO_FACTORS, Factors, Named, grouped, optimizers


class LBFGS(torch.optim.LBFGS):
    """torch's L-BFGS for batches: what it learned of the curvature is kept from one batch to the next.

    A curvature pair is a move and the difference of two gradients. Between the last gradient of one batch and
    the first of the next the difference is mostly that of the batches, so that pair is left out; all others
    are of one batch each. Of a quadratic on one batch nothing but a single pair a step is lost.

    Args:
        parameters: all of them; they move as one.
        learning_rate: the first length that a line search tries.
        iterations: line searches on a batch.
        history: how many pairs are kept.
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, learning_rate: float, iterations: int, history: int
    ) -> None:
        super().__init__(
            [{"params": parameters, "base_rate": learning_rate}],
            lr=learning_rate,
            max_iter=iterations,
            # A search that is cut short may end on a worse point, so it gets more looks than torch gives it.
            max_eval=4 * iterations + 4,
            history_size=history,
            line_search_fn="strong_wolfe",
        )

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # it needs one
        """So many line searches on one batch; the loss before them."""
        loss = super().step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        (parameters,) = (group["params"] for group in self.param_groups)
        state = self.state[parameters[0]]
        if state.get("d") is not None:
            # torch takes a pair for the next gradient from the last direction, and none from a move of zero.
            state["d"] = torch.zeros_like(state["d"])
        return loss


@optimizers.word(
    "lbfgs",
    moments=lambda history, **_: 2 * history + 5,
    closure=True,
    formula="w -= t H g, H from the last `history` moves and gradient differences, t by strong Wolfe",
    reference="Liu and Nocedal, 1989; Nocedal and Wright, 2006",
)
def lbfgs(
    named: Named,
    factors: Factors = NO_FACTORS,
    *,
    learning_rate: PositiveFloat = 1.0,
    iterations: Annotated[int, Field(ge=1, le=1000)] = 5,
    history: Annotated[int, Field(ge=1, le=100)] = 10,
) -> torch.optim.Optimizer:
    """Several line searches on each batch along curvature-corrected gradients; for batches of thousands.

    A line search sets the length of a step: `learning_rate` is the length that it tries first, so a schedule
    has little to say, and `constant` suits best. A gradient that is clipped is not that of the loss: it goes
    with no `clip_norm`. It keeps 2 `history` + 5 numbers for each weight.

    Raises:
        SpecRefused: there are learning-rate factors; all parameters move by one length.
    """
    if any(factor != 1.0 for factor in factors.values()):
        raise SpecRefused(
            [
                (
                    ("optimizer",),
                    "lbfgs moves all parameters by one length, so an init that gives each layer a learning "
                    "rate of its own needs another optimizer",
                )
            ]
        )
    (group,) = grouped(named, NO_FACTORS, learning_rate)
    return LBFGS(group["params"], learning_rate=learning_rate, iterations=iterations, history=history)
