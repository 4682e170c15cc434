"""Catalog: data that need no upload. Each is a pure function of its parameters, so its hash can be quoted.

`digits` are real and shipped with the package (their licence stands beside them); the others are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from autoencoders.catalog import Catalog, Choice
from autoencoders.data.arrays import Array, Floats, stream
from autoencoders.data.canonical import write_rows
from autoencoders.data.manifest import Manifest
from autoencoders.data.options import ReadOptions


@dataclass(frozen=True)
class SampleRows:
    """Rows [n, *shape], and the columns' names where they are a table."""

    rows: Array
    columns: tuple[str, ...] | None = None


Sample = Callable[..., SampleRows]
samples: Catalog[Sample] = Catalog("samples")

Rows = Annotated[int, Field(ge=2, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

_SIDE = 28
# Calibrated on the published difficulty of the curves of 2006: the mean image's squared error 16, PCA's at 18
# components 5.9.
_MARGIN, _INK, _PEN_STD = 3.3, 0.748, 1.0
_PATH_POINTS = 36
_BATCH = 128


@samples.word("digits", reference="Alpaydin and Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0")
def digits() -> SampleRows:
    """1,797 scans of handwritten digits, 8x8 pixels in [0, 1]."""
    with resources.files("autoencoders.data").joinpath("shipped", "digits.npz").open("rb") as file:
        levels = np.load(file, allow_pickle=False)["levels"]
    return SampleRows(levels.astype(np.float32) / np.float32(16))


@samples.word(
    "curves",
    reference="after Hinton and Salakhutdinov, 2006; the original generator is not public",
    formula="0.748 exp(-d^2 / 2), d the pixel's distance from the path",
)
def curves(*, rows: Rows = 20_000, seed: Seed = 0) -> SampleRows:
    """Images (28x28, in [0, 1]) of a pen stroke: the natural cubic spline through three random points."""
    points = stream(seed, "curves").random((rows, 3, 2))
    points = np.take_along_axis(points, np.argsort(points[:, :, :1], axis=1), axis=1)
    path = (_MARGIN + _splines(points) * (_SIDE - 1 - 2 * _MARGIN)).astype(np.float32)
    images = np.empty((rows, _SIDE, _SIDE), dtype=np.float32)
    for start in range(0, rows, _BATCH):
        images[start : start + _BATCH] = _inked(path[start : start + _BATCH])
    return SampleRows(images)


def _splines(points: Floats) -> Floats:
    """Natural cubic splines through points [n, 3, 2] at equal steps of the parameter; [n, path points, 2].

    With knots 0, 1, 2 and zero curvature at both ends, the curvature at the middle knot is 3/2 times the
    second difference.
    """
    first, middle, last = (points[:, None, position] for position in range(3))
    curvature = 1.5 * (first - 2 * middle + last)
    t = np.linspace(0, 2, _PATH_POINTS)[None, :, None]
    u, w = t, t - 1
    rising = first * (1 - u) + middle * u + curvature / 6 * (u**3 - u)
    falling = middle * (1 - w) + last * w + curvature / 6 * ((1 - w) ** 3 - (1 - w))
    return np.where(t <= 1, rising, falling)


def _inked(path: Array) -> Array:
    """A Gaussian pen's greatest ink over the path: the ink at the least distance."""
    pixels = np.arange(_SIDE, dtype=np.float32)
    across, down = ((pixels[None, :, None] - path[:, None, :, axis]) ** 2 for axis in range(2))
    across, down = (np.ascontiguousarray(part.transpose(2, 0, 1)) for part in (across, down))
    nearest = np.full((len(path), _SIDE, _SIDE), np.inf, dtype=np.float32)
    distance = np.empty_like(nearest)
    for x, y in zip(across, down, strict=True):
        np.add(y[:, :, None], x[:, None, :], out=distance)
        np.minimum(nearest, distance, out=nearest)
    ink: Array = np.float32(_INK) * np.exp(nearest / np.float32(-2 * _PEN_STD**2))
    return ink


@samples.word("sines", formula="a sin(2 pi f t + p) + noise, a in [0.5, 1.5], f in [1, 4], p in [0, 2 pi]")
def sines(
    *,
    rows: Rows = 10_000,
    seed: Seed = 0,
    length: Annotated[int, Field(ge=2, le=4096)] = 64,
    noise: Annotated[float, Field(ge=0, le=10)] = 0.05,
) -> SampleRows:
    """Windows of sine waves of random amplitude, frequency and phase, with noise: real-valued series."""
    draws = stream(seed, "sines")
    amplitude, frequency, phase = (
        draws.uniform(low, high, (rows, 1)).astype(np.float32)
        for low, high in ((0.5, 1.5), (1, 4), (0, 2 * np.pi))
    )
    t = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
    waves = amplitude * np.sin(np.float32(2 * np.pi) * frequency * t + phase)
    waves += np.float32(noise) * draws.standard_normal((rows, length), dtype=np.float32)
    return SampleRows(waves)


@samples.word("blobs", formula="x ~ N(c_k, spread^2 I), c_k ~ U(-10, 10), k uniform")
def blobs(
    *,
    rows: Rows = 5_000,
    seed: Seed = 0,
    columns: Annotated[int, Field(ge=1, le=1000)] = 8,
    blobs: Annotated[int, Field(ge=1, le=1000)] = 5,
    spread: Annotated[float, Field(gt=0, le=100)] = 1.0,
) -> SampleRows:
    """A table of points in a few Gaussian clusters, with named columns."""
    draws = stream(seed, "blobs")
    centres = draws.uniform(-10, 10, (blobs, columns))
    chosen = draws.integers(blobs, size=rows)
    points = centres[chosen] + spread * draws.standard_normal((rows, columns))
    return SampleRows(points.astype(np.float32), tuple(f"x{number}" for number in range(columns)))


def write_sample(choice: Choice, destination: Path, options: ReadOptions | None = None) -> Manifest:
    """A sample as a canonical folder."""
    sample: SampleRows = samples.call(choice)
    options = options or ReadOptions()
    if not options.name:
        options = options.model_copy(update={"name": choice.name})
    return write_rows(sample.rows, destination, columns=sample.columns, options=options)
