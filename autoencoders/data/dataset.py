"""Dataset: an opened canonical folder; its rows are memory-mapped, training rows first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import ValidationError

from autoencoders.data.arrays import CHUNK_BYTES, Array, Integers, rows_per_chunk
from autoencoders.data.manifest import Facts, Manifest
from autoencoders.data.moments import Moments
from autoencoders.data.npy_format import read_header
from autoencoders.data.options import Other
from autoencoders.errors import DataRefused

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dataset", "Facts", "Part"]

MANIFEST, ROWS, ROW_NUMBERS = "dataset.json", "rows.npy", "row_numbers.npy"
IDS, MOMENTS = "ids.arrow", "moments.npz"
Part = Literal["training", "held_out", "all_in_upload_order"]


class Dataset:
    """Rows, their split and what is known of them.

    Args:
        folder: the canonical folder.
        manifest: what it says of itself.

    Attributes:
        training: [training_rows, features] in the stored dtype, mapped from disk.
        held_out: [held_out_rows, features], likewise.
        row_numbers: for each stored row its number in the upload; held-out rows that are another dataset's
            have their numbers there.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest, self.facts = folder, manifest, manifest.facts()
        rows = _mapped(folder / ROWS, manifest)
        self.training: Array = rows[: manifest.training_rows]
        self.held_out: Array = rows[manifest.training_rows :]

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open what `read`, `write_rows` or `write_sample` wrote.

        Raises:
            DataRefused: the folder is not a canonical dataset, or is damaged.
        """
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise DataRefused(f"{folder} holds no dataset that can be opened: {error}") from error
        return cls(folder, manifest)

    @cached_property
    def moments(self) -> Moments:
        """The moments that were computed when it was written."""
        return Moments.load(self.folder / MOMENTS)

    @cached_property
    def row_numbers(self) -> Integers:
        """For each stored row its number in the upload."""
        try:
            numbers: Integers = np.load(self.folder / ROW_NUMBERS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataRefused(f"the dataset's row numbers are damaged: {error}") from error
        if numbers.shape != (self.manifest.rows,):
            raise DataRefused("the dataset's row numbers are damaged: there are too few or too many")
        return numbers

    @property
    def has_own_held_out_rows(self) -> bool:
        """Whether the held-out rows were uploaded with the others, and are not another dataset's."""
        return not isinstance(self.manifest.holdout, Other)

    def ids(self) -> pa.Table | None:
        """The id columns (for images, their file names) in upload order, if there are any."""
        import pyarrow as pa  # 60 ms that training without ids need not pay

        path = self.folder / IDS
        if not path.exists():
            return None
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()

    def chunks(self, part: Part = "training", bytes: int = CHUNK_BYTES) -> Iterator[Array]:  # noqa: A002  # the unit
        """The rows of one part, [n, features] at a time.

        Upload order is that of this upload alone: where the held-out rows are another dataset's, they are
        left out.
        """
        source = self.held_out if part == "held_out" else self.training
        step = rows_per_chunk(source.shape[1] * source.itemsize, bytes)
        if part == "all_in_upload_order":
            rows = self.manifest.uploaded_rows
            for start in range(0, rows, step):
                yield self.in_upload_order(start, min(start + step, rows))
            return
        for start in range(0, len(source), step):
            yield source[start : start + step]

    def in_upload_order(self, start: int, stop: int) -> Array:
        """The uploaded rows from `start` up to `stop`, [stop - start, features] in the stored dtype."""
        if not self.has_own_held_out_rows:
            return self.training[start:stop]
        numbers = (self.row_numbers[: len(self.training)], self.row_numbers[len(self.training) :])
        chunk = np.empty((stop - start, self.facts.features), dtype=self.facts.dtype)
        for of_part, rows in zip(numbers, (self.training, self.held_out), strict=True):
            first, last = np.searchsorted(of_part, (start, stop))
            chunk[of_part[first:last] - start] = rows[first:last]
        return chunk

    def verify(self) -> None:
        """Hash every row again.

        Raises:
            DataRefused: they are not the rows that the manifest was written for.
        """
        from autoencoders.data.canonical import schema_digest  # canonical.py opens datasets itself

        digest = schema_digest(self.facts.dtype, self.facts.shape, self.manifest.columns)
        for chunk in self.chunks("all_in_upload_order"):
            digest.update(np.ascontiguousarray(chunk).data)
        for chunk in () if self.has_own_held_out_rows else self.chunks("held_out"):
            digest.update(np.ascontiguousarray(chunk).data)
        if digest.hexdigest() != self.manifest.sha256:
            raise DataRefused(f"the rows in {self.folder} are not those of its manifest")


def _mapped(path: Path, manifest: Manifest) -> Array:
    """The file's rows as [rows, features], after its header and size were checked against the manifest."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_header(file)
            offset = file.tell()
        promised = (manifest.rows, *manifest.shape)
        size = path.stat().st_size - offset
    except (OSError, ValueError) as error:
        raise DataRefused(f"the dataset's rows are damaged: {error}") from error
    if shape != promised or fortran or dtype != np.dtype(manifest.dtype) or size != manifest.bytes:
        raise DataRefused(
            f"the dataset's rows are damaged: {size:,} bytes of {dtype} {shape}, not {promised}"
        )
    flat = (manifest.rows, manifest.facts().features)
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=flat)
