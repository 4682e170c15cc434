"""Golden rows: a few held-out rows that travel with a model, and what it made of them where it was trained.

Another installation lets the model answer them again and knows that it serves the very same one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from autoencoders.data.arrays import Array
from autoencoders.data.scaling import Affine
from autoencoders.errors import BundleDamaged, DataRefused
from autoencoders.models import Autoencoder
from autoencoders.training.aligned import aligned

GOLDEN = "golden.safetensors"
MOST_ROWS, MOST_NUMBERS = 8, 262_144
TOLERANCE = 1e-3
"""Of a number and of the spread: far above what another machine's rounding does, far below another model."""

Numbers: TypeAlias = npt.NDArray[np.float32]


class Answers(Protocol):
    """A model that takes and gives rows in the dataset's units."""

    def encode(self, rows: Array) -> Numbers:
        """Codes of rows."""

    def decode(self, codes: Array) -> Numbers:
        """Rows of codes."""


@torch.inference_mode()
def answers(model: Autoencoder, affine: Affine, held_out: Array) -> dict[str, Array]:
    """A few raw held-out rows [n, features], evenly spaced, with what the model makes of them."""
    fit = max(1, min(MOST_ROWS, MOST_NUMBERS // max(1, held_out.shape[1]), len(held_out)))
    rows = np.ascontiguousarray(held_out[np.linspace(0, len(held_out) - 1, fit).round().astype(np.int64)])
    was_training = model.training
    model.eval()
    codes = model.encode(aligned(affine.apply(rows), next(model.parameters()).device))
    back = affine.invert(model.decode(codes).cpu().numpy())
    model.train(was_training)
    return {"rows": rows, "codes": codes.cpu().numpy(), "reconstructions": back}


def write(folder: Path, held: dict[str, Array]) -> None:
    """Keep them in a bundle's folder."""
    save_file(held, folder / GOLDEN)


def read(folder: Path) -> dict[str, Array]:
    """`rows` [n, features] in the dataset's units, and the `codes` and `reconstructions` made of them.

    Raises:
        BundleDamaged: there are none.
    """
    try:
        held = load_file(folder / GOLDEN)
        return {name: held[name] for name in ("rows", "codes", "reconstructions")}
    except (OSError, SafetensorError, KeyError) as problem:
        raise BundleDamaged(f"{folder}: {GOLDEN}: {problem}") from problem


def check(model: Answers, folder: Path) -> None:
    """Let the model answer its golden rows again.

    Raises:
        BundleDamaged: it answers otherwise than where it was made, or there are none.
    """
    held = read(folder)
    try:
        found = {"codes": model.encode(held["rows"]), "reconstructions": model.decode(held["codes"])}
    except DataRefused as problem:
        raise BundleDamaged(f"{folder}: {GOLDEN}: {problem}") from problem
    for name, answer in found.items():
        spread = TOLERANCE * float(held[name].std())
        flat = answer.reshape(len(answer), -1)
        if flat.shape != held[name].shape or not np.allclose(flat, held[name], TOLERANCE, spread):
            raise BundleDamaged(f"{folder}: the model's {name} of its golden rows are not those in {GOLDEN}")
