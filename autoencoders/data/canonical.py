"""From rows in upload order to the canonical folder: gaps filled, training rows first, moments, hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.lib.format as npy

from autoencoders.data.arrays import Array, Floats
from autoencoders.data.dataset import IDS, MANIFEST, MOMENTS, ROW_NUMBERS, ROWS, Dataset
from autoencoders.data.manifest import Column, Manifest, Statistics
from autoencoders.data.moments import MAX_COVARIANCE_FEATURES, Accumulator, Moments
from autoencoders.data.options import After, Fraction, Group, Holdout, Other, ReadOptions
from autoencoders.data.split import Mask, held_out_after, held_out_by_fraction, held_out_by_group
from autoencoders.data.staging import Dtype, RawRows, Stage, Upload
from autoencoders.errors import DataRefused

_NUMBERED = 2**20
PREVIEW_ROWS, PREVIEW_VALUES = 5, 64


@contextmanager
def building(destination: Path) -> Iterator[Path]:
    """A folder beside `destination` that becomes it on success and vanishes on any failure.

    Raises:
        FileExistsError: the destination exists and holds something.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise FileExistsError(f"{destination} is not empty")
    partial = destination.with_name(f".{destination.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if destination.exists():
            destination.rmdir()
        os.replace(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_rows(
    rows: Array,
    destination: Path,
    *,
    columns: Sequence[str] | None = None,
    options: ReadOptions | None = None,
) -> Manifest:
    """A canonical folder from rows [n, *shape] that are at hand; uint8 stays, other numbers become float32.

    Raises:
        DataRefused: the rows are no dataset.
    """
    options = options or ReadOptions()
    dtype: Dtype = "uint8" if rows.dtype == np.uint8 else "float32"
    with building(destination) as folder:
        flat = rows.reshape(len(rows), -1)
        with Stage(folder / "upload", dtype, flat.shape[1], options.limits, names=columns) as stage:
            for start in range(0, len(flat), 4096):
                stage.add(flat[start : start + 4096])
        upload = staged(stage, rows.shape[1:])
        if columns is not None:
            upload.columns = [Column(name=name, role="use") for name in columns]
        return assemble(upload, folder, options)


def staged(stage: Stage, shape: tuple[int, ...]) -> Upload:
    """What a stage that wrote a file holds in the end."""
    if stage.path is None:
        raise ValueError("this stage wrote no file")
    raw = RawRows(stage.path, stage.dtype, stage.features, stage.rows)
    return Upload(raw, tuple(shape), stage.missing, stage.first_missing)


def assemble(upload: Upload, folder: Path, options: ReadOptions) -> Manifest:
    """Write the canonical files of an upload into its folder; files of the way there are removed."""
    if upload.raw.rows < 2:
        raise DataRefused(f"a dataset needs at least two rows; there are {upload.raw.rows}")
    _refuse_missing(upload, options)
    holdout = _holdout(upload, options)
    other = _other(upload, holdout, options)
    held = np.zeros(upload.raw.rows, dtype=np.bool_) if other else _mask(upload, holdout)
    fill = _fill(upload, held) if upload.missing.any() else None
    writer = _Writer(upload, folder, held, fill, other)
    writer.write()
    for scratch in (upload.raw.path, upload.group_codes, upload.times):
        if scratch is not None and scratch.parent == folder:
            scratch.unlink(missing_ok=True)
    if upload.ids is not None:
        os.replace(upload.ids, folder / IDS)
    manifest = writer.manifest(holdout, options)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _refuse_missing(upload: Upload, options: ReadOptions) -> None:
    counts = {upload.feature_name(int(i)): int(upload.missing[i]) for i in np.flatnonzero(upload.missing)}
    if not counts or upload.first_missing is None:
        return
    row, feature = upload.first_missing
    place = {"row": row, "column": upload.feature_name(feature)}
    listed = ", ".join(f"{name}: {count:,}" for name, count in list(counts.items())[:50])
    listed += f" and {len(counts) - 50:,} more columns" if len(counts) > 50 else ""
    if options.missing == "refuse":
        raise DataRefused(
            f"the first of {sum(counts.values()):,} missing cells (NaN or empty; by column: {listed}); "
            "`?missing=mean` would put the column's mean there",
            **place,  # type: ignore[arg-type]  # a row number and a column
        )


def _holdout(upload: Upload, options: ReadOptions) -> Holdout:
    if options.holdout is not None:
        return options.holdout
    groups = [column.name for column in upload.columns or () if column.role == "group"]
    return Group(group=groups[0]) if groups else Fraction()


def _mask(upload: Upload, holdout: Holdout) -> Mask:
    if isinstance(holdout, Group):
        if upload.group_codes is None:
            raise DataRefused("the rows have no such column to be split by", column=holdout.group)
        return held_out_by_group(np.fromfile(upload.group_codes, dtype=np.int32), upload.groups, holdout)
    if isinstance(holdout, After):
        column = next((column.name for column in upload.columns or () if column.role == "time"), None)
        if upload.times is None or column is None:
            raise DataRefused("a split by `after` needs a column with the role `time` (`?time=column`)")
        return held_out_after(np.fromfile(upload.times), upload.times_are_moments, column, holdout)
    if isinstance(holdout, Fraction):
        return held_out_by_fraction(upload.raw.rows, holdout)
    raise ValueError(holdout)


def _other(upload: Upload, holdout: Holdout, options: ReadOptions) -> Dataset | None:
    if not isinstance(holdout, Other):
        return None
    if options.holdout_folder is None:
        raise DataRefused(f"the dataset {holdout.dataset!r} with the held-out rows is not at hand")
    other = Dataset.open(options.holdout_folder)
    mine = [column.name for column in upload.columns or () if column.role == "use"]
    if (other.facts.shape, other.facts.dtype) != (upload.shape, upload.raw.dtype):
        raise DataRefused(
            f"held-out rows must be alike: {holdout.dataset!r} has {other.facts.dtype} rows of shape "
            f"{list(other.facts.shape)}, these are {upload.raw.dtype} of shape {list(upload.shape)}"
        )
    if mine and other.facts.columns and tuple(mine) != other.facts.columns:
        theirs = ", ".join(other.facts.columns)
        raise DataRefused(f"the columns of {holdout.dataset!r} are not the same: {theirs}")
    return other


def _fill(upload: Upload, held: Mask) -> Array:
    """The mean of each feature over the training rows that have it."""
    total: Floats = np.zeros(upload.raw.features)
    count: Floats = np.zeros(upload.raw.features)
    start = 0
    for chunk in upload.raw.chunks():
        training = chunk[~held[start : start + len(chunk)]].astype(np.float64)
        total += np.nansum(training, axis=0)
        count += np.count_nonzero(~np.isnan(training), axis=0)
        start += len(chunk)
    if not count.all():
        feature = int(np.argmin(count))
        raise DataRefused(
            "no training row has a value here: there is no mean to put in",
            column=upload.feature_name(feature),
        )
    return (total / count).astype(np.float32)


class _Writer:
    """One pass over the rows in upload order: to their places, into the moments and into the hash."""

    def __init__(
        self, upload: Upload, folder: Path, held: Mask, fill: Array | None, other: Dataset | None
    ) -> None:
        self.upload, self.folder, self.held, self.fill, self.other = upload, folder, held, fill, other
        self.held_out_rows = other.facts.rows if other else int(np.count_nonzero(held))
        self.training_rows = upload.raw.rows - (0 if other else self.held_out_rows)
        covariance = upload.raw.features <= MAX_COVARIANCE_FEATURES
        self.training = Accumulator(upload.raw.features, covariance=covariance)
        self.held_out = Accumulator(upload.raw.features, covariance=covariance)
        self.preview: list[list[float]] = []
        self.digest = schema_digest(upload.raw.dtype, upload.shape, upload.columns)
        self.statistics: list[Statistics] = []

    def write(self) -> None:
        """Write rows, row numbers and moments."""
        raw = self.upload.raw
        header = {
            "descr": npy.dtype_to_descr(np.dtype(raw.dtype)),
            "fortran_order": False,
            "shape": (self.training_rows + self.held_out_rows, *self.upload.shape),
        }
        path = self.folder / ROWS
        with path.open("wb") as first:
            npy.write_array_header_1_0(first, header)
            first.flush()
            start = first.tell()
            with path.open("r+b") as second:
                second.seek(start + self.training_rows * raw.row_bytes)
                self._place(first, second)
        self._number()
        self._summarise()
        Moments.of(self.training, self.held_out).save(self.folder / MOMENTS)

    def _place(self, first: BinaryIO, second: BinaryIO) -> None:
        start = 0
        for chunk in self.upload.raw.chunks():
            rows = chunk if self.fill is None else np.where(np.isnan(chunk), self.fill, chunk)
            self.digest.update(rows.data)
            if start == 0:
                self.preview = rows[:PREVIEW_ROWS, :PREVIEW_VALUES].astype(np.float64).tolist()
            out = self.held[start : start + len(rows)]
            places = ((rows[~out], first, self.training), (rows[out], second, self.held_out))
            for part, file, moments in places:
                part.tofile(file)
                if len(part):
                    moments.add(part)
            start += len(rows)
        for rows in self.other.chunks("all_in_upload_order") if self.other else ():
            self.digest.update(np.ascontiguousarray(rows).data)
            rows.tofile(second)
            self.held_out.add(rows)

    def _number(self) -> None:
        """Piece by piece: a narrow table's row numbers are larger than its rows."""
        shape = (self.training_rows + self.held_out_rows,)
        held_out = np.ones(self.held_out_rows, dtype=np.bool_) if self.other else self.held
        with (self.folder / ROW_NUMBERS).open("wb") as file:
            npy.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": shape})
            for mask, wanted in ((self.held, False), (held_out, True)):
                for start in range(0, len(mask), _NUMBERED):
                    here = np.flatnonzero(mask[start : start + _NUMBERED] == wanted)
                    (here + start).astype("<i8").tofile(file)

    def _summarise(self) -> None:
        """Statistics over all rows, from both accumulators: overall first, then per feature."""
        n, m = self.training.count, self.held_out.count
        shift = self.held_out.mean - self.training.mean
        mean = self.training.mean + shift * (m / (n + m))
        spread = (n * self.training.variance() + m * self.held_out.variance()) / (n + m)
        variance = spread + shift**2 * (n * m / (n + m) ** 2)
        low = np.minimum(self.training.minimum, self.held_out.minimum)
        high = np.maximum(self.training.maximum, self.held_out.maximum)
        overall = float(np.sqrt(np.mean(variance) + np.var(mean)))
        self.statistics = [_statistics(low.min(), high.max(), mean.mean(), overall)]
        if self.upload.columns is not None:
            per_feature = zip(low, high, mean, np.sqrt(variance), strict=True)
            self.statistics.extend(_statistics(*numbers) for numbers in per_feature)

    def manifest(self, holdout: Holdout, options: ReadOptions) -> Manifest:
        """What was written."""
        raw, columns = self.upload.raw, self.upload.columns
        if columns is not None:
            used = iter(zip(self.upload.missing, self.statistics[1:], strict=True))
            columns = [
                _described(column, *next(used)) if column.role == "use" else column for column in columns
            ]
        rows = self.training_rows + self.held_out_rows
        return Manifest(
            name=options.name,
            dtype=raw.dtype,
            shape=self.upload.shape,
            rows=rows,
            training_rows=self.training_rows,
            held_out_rows=self.held_out_rows,
            sha256=self.digest.hexdigest(),
            columns=columns,
            statistics=self.statistics[0],
            holdout=holdout,
            missing=options.missing,
            preview=self.preview,
            bytes=rows * raw.row_bytes,
        )


def _statistics(minimum: float, maximum: float, mean: float, std: float) -> Statistics:
    return Statistics(minimum=float(minimum), maximum=float(maximum), mean=float(mean), std=float(std))


def _described(column: Column, missing: int, statistics: Statistics) -> Column:
    return column.model_copy(update={"missing": int(missing), "statistics": statistics})


def schema_digest(dtype: str, shape: Sequence[int], columns: Sequence[Column] | None) -> hashlib._Hash:
    """A SHA-256 begun with what the rows are, so that equal bytes of another shape are another dataset."""
    names = None if columns is None else [column.name for column in columns if column.role == "use"]
    schema = json.dumps({"dtype": dtype, "shape": list(shape), "columns": names}, sort_keys=True)
    return hashlib.sha256(schema.encode() + b"\n")
