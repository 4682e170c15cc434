"""What the codes of different rows have in common, and how much of the rows they still tell.

The cosine between rows i and j is `z_i z_j / |z_i| |z_j|`; its mean over all pairs needs no pairs: with unit
vectors u_i it is `(|sum u_i|^2 - n) / n (n - 1)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ACTIVE = 0.01


@dataclass(frozen=True)
class CodeFigures:
    """The codes of a batch.

    Attributes:
        effective_rank: how many directions they use (below), 0 where all are the same.
        correlation: the mean cosine between codes of different rows; 1 where all rows get the same code.
        input_correlation: the same of the rows themselves.
        variance: over rows, averaged over units.
        active: units whose spread over rows is at least a hundredth of the widest one's.
        readable: the share of the held-out rows' variance that the best linear decoder would recover from
            their codes.
    """

    effective_rank: float
    correlation: float
    input_correlation: float
    variance: float
    active: int
    readable: float


def effective_rank(codes: Tensor) -> float:
    """The exponential of the entropy of the normalised singular values of centred codes [rows, code].

    k where k directions are used alike, 1 where there is one, 0 where none is. (Roy and Vetterli, 2007.)
    """
    centred = codes.double() - codes.double().mean(0)
    values = torch.linalg.svdvals(centred)
    floor = 8 * torch.finfo(codes.dtype).eps * float(codes.double().norm())
    values = values[values > floor]
    if len(values) == 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def mean_cosine(rows: Tensor) -> float:
    """The mean cosine between different rows of [n, d]; 1 where every row is zero or there is but one."""
    rows = rows.double()
    norms = rows.norm(dim=1)
    rows = rows[norms > 0] / norms[norms > 0, None]
    count = len(rows)
    if count < 2:
        return 1.0
    return float((rows.sum(0).square().sum() - count) / (count * (count - 1)))


def active_units(codes: Tensor) -> int:
    """Units of [rows, code] that vary: by more than rounding, and by 1% of what the widest one does."""
    spread = codes.double().std(0, correction=0)
    rounding = 4 * torch.finfo(codes.dtype).eps * codes.double().abs().amax(0)
    return int(((spread > rounding) & (spread >= ACTIVE * spread.max())).sum())


def readable_share(codes: Tensor, rows: Tensor, held_codes: Tensor, held_rows: Tensor) -> float:
    """What the linear decoder fitted to codes and rows recovers of held-out rows' variance around the mean.

    A little ridge keeps it from reading rounding errors. At most the first 512 units are read.
    """
    codes, held_codes = codes[:, :512].double(), held_codes[:, :512].double()
    mean, centre = rows.double().mean(0), codes.mean(0)
    rounding = torch.finfo(torch.float32).eps * codes.abs().amax(0)
    scale = codes.std(0, correction=0)
    alive = scale > 4 * rounding
    if not bool(alive.any()):
        return 0.0
    z = ((codes - centre) / scale)[:, alive]
    gram = z.t() @ z + 1e-3 * len(z) * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    weights = torch.linalg.solve(gram, z.t() @ (rows.double() - mean))
    guess = ((held_codes - centre) / scale)[:, alive] @ weights
    target = held_rows.double() - mean
    whole = float(target.square().sum())
    return 1.0 - float((target - guess).square().sum()) / whole if whole > 0 else 0.0


@torch.no_grad()
def read_codes(codes: Tensor, rows: Tensor, held_codes: Tensor, held_rows: Tensor) -> CodeFigures:
    """The figures of codes [n, code] of rows [n, features], with those of held-out rows to be read from."""
    if not bool(torch.isfinite(codes).all() & torch.isfinite(held_codes).all()):
        nan = float("nan")
        return CodeFigures(nan, nan, mean_cosine(rows), nan, 0, nan)
    return CodeFigures(
        effective_rank=effective_rank(codes),
        correlation=mean_cosine(codes),
        input_correlation=mean_cosine(rows),
        variance=float(codes.double().var(0, correction=0).mean()),
        active=active_units(codes),
        readable=readable_share(codes, rows, held_codes, held_rows),
    )
