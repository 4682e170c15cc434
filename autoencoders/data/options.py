"""What stands beside an upload: roles of columns, missing cells, held-out rows, and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveInt, Tag

Role = Literal["use", "id", "ignore", "group", "time"]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Fraction(_Options):
    """Hold out this share of the rows, drawn at random."""

    fraction: Share = 0.1
    seed: int = 0


class Group(_Options):
    """Hold out whole groups, the values of one column, until they hold this share of the rows."""

    group: str
    fraction: Share = 0.1
    seed: int = 0


class After(_Options):
    """Hold out the rows whose time (the column of that role) is later than this number or ISO 8601 moment."""

    after: float | str


class Other(_Options):
    """Hold out nothing here: another dataset's rows are the held-out ones."""

    dataset: str


def _which(value: object) -> str:
    """The kind of a holdout, told by the key that only it has; what has none is read as a fraction."""
    if isinstance(value, BaseModel):
        return type(value).__name__.lower()
    keys = value if isinstance(value, dict) else {}
    return next((key for key, word in _KEYS.items() if word in keys), "fraction")


_KEYS = {"group": "group", "after": "after", "other": "dataset"}

Holdout = Annotated[
    Annotated[Fraction, Tag("fraction")]
    | Annotated[Group, Tag("group")]
    | Annotated[After, Tag("after")]
    | Annotated[Other, Tag("other")],
    Discriminator(_which),
]


class Limits(_Options):
    """How much an upload may become; it is refused as soon as it is known to become more.

    Attributes:
        max_bytes: of the canonical rows, of whatever is unpacked on the way, and of all images decoded.
        max_ratio: unpacked bytes per packed byte, for gzip and zip; the first megabyte is free.
        max_table_ratio: decoded bytes (8 a cell) per byte of a Parquet or Arrow file, whose encodings pack
            better.
    """

    max_bytes: PositiveInt = 64 * 2**30
    max_rows: PositiveInt = 200_000_000
    max_columns: PositiveInt = 20_000
    max_features: PositiveInt = 4_194_304
    max_line_bytes: PositiveInt = 2 * 2**20
    max_ratio: PositiveInt = 100
    max_table_ratio: PositiveInt = 1_000
    max_members: PositiveInt = 2_000_000
    max_member_bytes: PositiveInt = 64 * 2**20
    max_image_pixels: PositiveInt = 4_194_304


class ReadOptions(_Options):
    """Everything that describes a dataset beside its bytes.

    Attributes:
        holdout: unset means by the `group` column where there is one, else a tenth of the rows.
        holdout_folder: where the canonical folder of `holdout.dataset` lies; never part of a manifest.
    """

    name: str = ""
    roles: dict[str, Role] = Field(default_factory=dict)
    missing: Literal["refuse", "mean"] = "refuse"
    holdout: Holdout | None = None
    holdout_folder: Path | None = None
    limits: Limits = Limits()
