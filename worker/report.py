"""After training: what the model does to held-out rows, as one JSON document.

The parts take arrays and give JSON; `compose` gathers them for a trained model and its dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autoencoders.data.dataset import Dataset
from autoencoders.data.scaling import Affine

Floats = npt.NDArray[Any]
Numbers = npt.NDArray[Any]

FILE = "report.json"

GALLERY_ROWS = 16
GALLERY_NUMBERS = 65_536
MAP_ROWS = 2_000
WORST_ROWS = 16
WORST_FEATURES = 5
FEATURES_LISTED = 4_096
HISTORY_LINES = 500
CHUNK_BYTES = 16_000_000


class Reader(Protocol):
    """A trained model, as far as a report needs it; rows are in the dataset's own units."""

    def encode(self, rows: Floats) -> Floats:
        """Codes of rows."""

    def reconstruct(self, rows: Floats) -> Floats:
        """Rows as the model gives them back, in the dataset's shape."""


def compose(
    model: Reader,
    affine: Affine,
    dataset: Dataset,
    *,
    error: float,
    baselines: Mapping[str, float | None],
    epochs: Iterable[Mapping[str, Any]],
    events: Iterable[tuple[int, str, str, Mapping[str, Any]]],
    diagnosis: Mapping[str, Any],
    alignment: Mapping[str, Any] | None = None,
    settled: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of a trained model; errors are squared errors of held-out rows in scaled units.

    `diagnosis` has what the model showed `before` its first step, and `after` its last; `alignment` how its
    code was turned onto an earlier model's, if it was; `settled` what was tried and chosen where the init was
    `auto` or the learning rate was to be found.
    """
    held_out = dataset.held_out
    numbers = np.asarray(dataset.row_numbers[len(dataset.training) :])
    names = feature_names(dataset)
    by_row, by_feature = held_out_errors(model, affine, held_out)
    shown = spread(len(held_out), MAP_ROWS)
    return {
        "error": error,
        # Per feature on average; `features` has each.
        "error_per_feature": error / len(names),
        "features": listed_features(names, by_feature, affine) if len(names) <= FEATURES_LISTED else None,
        "baselines": dict(baselines),
        "curves": curves(epochs),
        "gallery": gallery(held_out, numbers, model.reconstruct, dataset.facts.shape),
        "code_map": code_map(model.encode(held_out[shown]), numbers[shown], by_row[shown]),
        "worst_rows": worst_rows(
            by_row, lambda rows: squares(model, affine, held_out[rows]), numbers, names, _ids_of(dataset)
        ),
        "history": history(events),
        "diagnosis": dict(diagnosis),
        "alignment": None if alignment is None else dict(alignment),
        "auto": (settled or {}).get("auto"),
        "learning_rate": (settled or {}).get("learning_rate"),
    }


def diagnosis_in(events: Iterable[tuple[int, str, str, Mapping[str, Any]]]) -> Mapping[str, Any] | None:
    """What the job's diagnosis said before the first step; None where there was none."""
    return next((data["diagnosis"] for _, kind, _, data in events if kind == "diagnosis"), None)


def warning_of(diagnosis: Mapping[str, Any]) -> str | None:
    """What a job's owner should hear of a verdict: nothing where all is well."""
    verdict = diagnosis.get("verdict") or {}
    if verdict.get("outlook") not in ("stuck", "diverges"):
        concern = verdict.get("concern")
        return f"diagnosis: {concern}" if concern else None
    cause, cure = (str(verdict.get(key) or "").strip() for key in ("cause", "cure"))
    return "; ".join(part for part in (f"diagnosis: {verdict['outlook']}: {cause}", cure) if part)


def to_text(document: Mapping[str, Any]) -> str:
    """The document as JSON that every reader takes."""
    return json.dumps(document, allow_nan=False, separators=(",", ":"), default=str)


def feature_names(dataset: Dataset) -> list[str]:
    """The columns' names, or the numbers of features that have none."""
    columns = dataset.facts.columns
    return list(columns) if columns is not None else [str(i) for i in range(dataset.facts.features)]


def squares(model: Reader, affine: Affine, rows: Floats) -> Floats:
    """The squared error of each row and feature, in scaled units."""
    back = model.reconstruct(rows).reshape(len(rows), -1)
    squared: Floats = np.square(affine.apply(rows) - affine.apply(back))
    return squared


def held_out_errors(model: Reader, affine: Affine, rows: Floats) -> tuple[Floats, Floats]:
    """Errors by row (summed over features) and by feature (averaged over rows), in portions."""
    by_row = np.empty(len(rows), dtype=np.float32)
    by_feature = np.zeros(rows.shape[1], dtype=np.float64)
    for part in _portions(len(rows), rows.shape[1]):
        squared = squares(model, affine, rows[part])
        by_row[part] = squared.sum(axis=1)
        by_feature += squared.sum(axis=0, dtype=np.float64)
    return by_row, by_feature / max(1, len(rows))


def listed_features(names: Sequence[str], errors: Floats, affine: Affine) -> list[dict[str, Any]]:
    """Each feature's mean squared error, in scaled units and as a root in the feature's own."""
    own = np.sqrt(errors) / np.abs(affine.factor)
    pairs = zip(names, rounded(errors), rounded(own), strict=True)
    return [{"feature": name, "error": scaled, "root_in_own_units": root} for name, scaled, root in pairs]


def rounded(values: Floats) -> list[Any]:
    """Floats as JSON numbers that read back to the same float32; null where there is no number."""
    found = np.asarray(values, dtype=np.float32)
    if found.ndim > 1:
        return [rounded(row) for row in found]
    return [float(str(value)) if np.isfinite(value) else None for value in found]


def spread(count: int, wanted: int) -> Numbers:
    """At most `wanted` row numbers out of `count`, evenly spaced, the same each time."""
    if count <= wanted:
        return np.arange(count)
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)


def gallery(
    rows: Floats, numbers: Numbers, reconstruct: Callable[[Floats], Floats], shape: Sequence[int]
) -> dict[str, Any]:
    """A few held-out rows beside their reconstructions, in the dataset's own units."""
    fit = max(1, min(GALLERY_ROWS, GALLERY_NUMBERS // max(1, rows.shape[1])))
    chosen = spread(len(rows), fit)
    inputs = np.asarray(rows[chosen])
    return {
        "shape": list(shape),
        "rows": [int(number) for number in numbers[chosen]],
        "inputs": rounded(inputs),
        "reconstructions": rounded(reconstruct(inputs).reshape(len(inputs), -1)),
    }


def code_map(codes: Floats, numbers: Numbers, errors: Floats) -> dict[str, Any]:
    """Held-out codes on their two widest axes, with the share of their variance that these show."""
    centred = np.asarray(codes, dtype=np.float64)
    centred = centred - centred.mean(axis=0, keepdims=True)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    # An axis' sign is arbitrary: its largest weight points up, so that equal models draw equal maps.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    points = np.zeros((len(centred), 2))
    points[:, : len(axes)] = centred @ (axes * signs[:, None]).T
    variance = np.square(singular)
    total = float(variance.sum()) or 1.0
    explained = [float(share) / total for share in variance[:2]]
    return {
        "rows": [int(number) for number in numbers],
        "points": rounded(points),
        "errors": rounded(errors),
        "explained": [*explained, 0.0, 0.0][:2],
    }


def worst_rows(
    errors: Floats,
    squared: Callable[[Numbers], Floats],
    numbers: Numbers,
    names: Sequence[str],
    ids: Callable[[int], Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The held-out rows that the model reconstructs worst, each with the features that its error lies in."""
    order = np.argsort(-errors, kind="stable")[:WORST_ROWS]
    by_feature = squared(order)
    worst = []
    for place, row in enumerate(order):
        shares = by_feature[place] / max(float(by_feature[place].sum()), 1e-30)
        most = np.argsort(-shares, kind="stable")[:WORST_FEATURES]
        number = int(numbers[row])
        worst.append(
            {
                "row": number,
                "ids": dict(ids(number)),
                "error": rounded(errors[row : row + 1])[0],
                "features": [{"feature": names[i], "share": rounded(shares[i : i + 1])[0]} for i in most],
            }
        )
    return worst


def curves(epochs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One point for each epoch, in order; an epoch that was trained again after a loss counts once."""
    latest = {int(epoch["epoch"]): epoch for epoch in epochs}
    kept = ("epoch", "step", "train_loss", "loss", "error", "learning_rate", "seconds")
    return [{key: latest[number].get(key) for key in kept} for number in sorted(latest)]


def history(events: Iterable[tuple[int, str, str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What happened to the job beside its curves, as (number, type, time, data)."""
    kept = ("state", "init", "warning")
    lines = [
        {"number": number, "type": kind, "at": at, "data": dict(data)}
        for number, kind, at, data in events
        if kind in kept
    ]
    return lines[-HISTORY_LINES:]


def _portions(rows: int, features: int) -> Iterator[slice]:
    step = max(1, CHUNK_BYTES // (4 * features))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _ids_of(dataset: Dataset) -> Callable[[int], Mapping[str, Any]]:
    """What the id columns say of a row of this upload; held-out rows of another dataset have none here."""
    table = dataset.ids() if dataset.has_own_held_out_rows else None
    if table is None:
        return lambda _number: {}

    def ids(number: int) -> Mapping[str, Any]:
        return {name: _as_json(table.column(name)[number].as_py()) for name in table.column_names}

    return ids


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime | time) else value
