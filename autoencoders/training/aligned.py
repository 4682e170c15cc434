"""Rows on their way from numpy to torch, at addresses that torch chose itself.

Matrix products peel off what lies before a vector's boundary, so the last bit of a sum depends on where
memory begins. numpy begins at any multiple of 16 bytes, torch at multiples of 64: only a copy of torch's own
gives the same bits in every process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoencoders.data.arrays import Array


def aligned(rows: Array, device: torch.device | str = "cpu") -> Tensor:
    """The array as a tensor of the device's own memory, never sharing the array's."""
    tensor = torch.from_numpy(rows)
    return torch.empty_like(tensor, device=device).copy_(tensor)
