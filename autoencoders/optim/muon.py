"""Two optimizers as one: torch's Muon for the matrices between hidden layers, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Named = Sequence[tuple[str, nn.Parameter]]


def split_matrices(named: Named) -> tuple[Named, Named]:
    """The matrices between hidden layers, and the rest.

    Parameters come in forward order: the first matrix reads the data; the last one writes it, unless the
    decoder is tied and has no matrices of its own.
    """
    matrices = [(name, parameter) for name, parameter in named if parameter.ndim == 2]
    if not matrices:
        return [], named
    features = matrices[0][1].shape[1]
    end = len(matrices) - 1 if matrices[-1][1].shape[0] == features else len(matrices)
    hidden = matrices[1:end]
    names = {name for name, _ in hidden}
    return hidden, [item for item in named if item[0] not in names]


class Muon(Optimizer):
    """One object and one state dict over torch's Muon and AdamW; the groups, and so the rates, are theirs.

    Args:
        matrices: parameter groups of matrices; may be empty.
        others: parameter groups of everything else; may be empty.
        momentum: of the matrices' gradients.
    """

    def __init__(
        self, matrices: list[dict[str, Any]], others: list[dict[str, Any]], *, momentum: float
    ) -> None:
        self._parts: list[Optimizer] = []
        if matrices:
            self._parts.append(
                torch.optim.Muon(matrices, lr=matrices[0]["lr"], momentum=momentum, weight_decay=0.0)
            )
        if others:
            self._parts.append(torch.optim.AdamW(others, lr=others[0]["lr"], weight_decay=0.0, fused=True))
        # The parent class only sees to hooks and `zero_grad`: the groups are the very dictionaries of the
        # two parts.
        super().__init__([group for part in self._parts for group in part.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both, after one look at the batch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of both, in order."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of both; their groups stay the groups of this object."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self._parts for group in part.param_groups]
