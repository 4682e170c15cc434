"""What a canonical dataset says of itself: its manifest, and the facts that models are built from."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from autoencoders.data.options import Holdout, Other, Role


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """One row's shape as (channels, height, width); None where rows of this shape are no images."""
    if len(shape) == 2:
        return (1, *shape)
    return shape if len(shape) == 3 and shape[0] in (1, 3, 4) else None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Statistics(_Frozen):
    """Extremes, mean and standard deviation (of the population) over all rows, held-out ones included."""

    minimum: float
    maximum: float
    mean: float
    std: float


class Column(_Frozen):
    """One column of a table; statistics (over all rows) only where it is trained on."""

    name: str
    role: Role
    missing: int = 0
    statistics: Statistics | None = None


class Manifest(_Frozen):
    """The contents of `dataset.json`.

    Attributes:
        shape: of one row; images are [height, width] or [channels, height, width].
        rows: all of them, `training_rows + held_out_rows`.
        sha256: of the schema and the canonical rows in upload order (then of the held-out ones, where they
            are another dataset's).
        preview: the first rows of the upload, at most 5 of at most 64 values each.
        bytes: of the canonical rows.
    """

    format: Literal[1] = 1
    name: str = ""
    dtype: Literal["float32", "uint8"]
    shape: tuple[int, ...]
    rows: int
    training_rows: int
    held_out_rows: int
    sha256: str
    columns: list[Column] | None
    statistics: Statistics
    holdout: Holdout
    missing: Literal["refuse", "mean"]
    preview: list[list[float]]
    bytes: int

    @property
    def uploaded_rows(self) -> int:
        """How many rows were uploaded: without the held-out ones where those are another dataset's."""
        return self.training_rows if isinstance(self.holdout, Other) else self.rows

    def facts(self) -> Facts:
        """The part of the manifest that models are built from."""
        used = None if self.columns is None else tuple(c.name for c in self.columns if c.role == "use")
        return Facts(
            shape=self.shape,
            dtype=self.dtype,
            rows=self.rows,
            training_rows=self.training_rows,
            held_out_rows=self.held_out_rows,
            minimum=self.statistics.minimum,
            maximum=self.statistics.maximum,
            columns=used,
        )


class Facts(_Frozen):
    """What a spec needs to know of a dataset: shape, type, counts, range and a table's column names."""

    shape: tuple[int, ...]
    dtype: Literal["float32", "uint8"]
    rows: int
    training_rows: int
    held_out_rows: int
    minimum: float
    maximum: float
    columns: tuple[str, ...] | None = None

    @property
    def features(self) -> int:
        """Numbers in one row."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether rows are images: [height, width], or [channels, height, width] with 1, 3 or 4 channels."""
        return image_shape(self.shape) is not None
