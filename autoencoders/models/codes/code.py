"""What a code is, and the catalog of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from autoencoders.catalog import Catalog

Size = Annotated[int, Field(ge=1, le=65_536)]


class Code(nn.Module):
    """What stands between the code layer and the decoder.

    Args:
        size: the numbers in a code.
        features: the linear features that it is made of; more than `size` where some are parameters of a law.
    """

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.size, self.features = size, features

    def forward(
        self,
        features: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002 - for codes that draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The code as the decoder sees it in training, and the terms that the code adds to the objective."""
        return self.point(features), {}

    def point(self, features: Tensor) -> Tensor:
        """The code as a client sees it: no noise."""
        return features


def _from_value(value: Any) -> Any:
    # A bool is an int to Python, but no size to anybody.
    return (
        {"name": "plain", "size": value} if isinstance(value, int) and not isinstance(value, bool) else value
    )


codes: Catalog[Callable[..., Code]] = Catalog("codes", from_value=_from_value)
"""Words `(**parameters) -> Code`; a bare integer is a plain code of that size."""
