"""Two optimizers as one: torch's Muon for the matrices between hidden layers, AdamW for everything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Named = Sequence[tuple[str, nn.Parameter]]


def split_matrices(named: Named) -> tuple[Named, Named]:
    """The matrices between hidden layers, and the rest: biases, norms, convolutions, what touches the data.

    Parameters come in forward order: the first layer reads the data; `decoder.output` writes it, unless the
    decoder is tied and has no matrices of its own. Of a weight norm's two parts the lengths are no matrix.
    """
    if not named:
        return [], named
    outer = {_layer_of(named[0][0]), "decoder.output"}
    hidden = [(name, parameter) for name, parameter in named if _is_matrix(name, parameter, outer)]
    names = {name for name, _ in hidden}
    return hidden, [item for item in named if item[0] not in names]


def _layer_of(name: str) -> str:
    return re.split(r"\.(?=weight$|bias$|parametrizations\.)", name)[0]


def _is_matrix(name: str, parameter: nn.Parameter, outer: set[str]) -> bool:
    return parameter.ndim == 2 and parameter.shape[1] > 1 and _layer_of(name) not in outer


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
