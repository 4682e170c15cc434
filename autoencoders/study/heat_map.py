"""A two-way grid as a table of mean errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from autoencoders.study.standings import Standing


def heat_map(cells: Sequence[Standing]) -> dict[str, Any] | None:
    """Mean errors by the values of both paths; None unless there are two paths with two values each.

    `errors[row][column]` is None where there is no cell, or none that has an error.
    """
    paths = list(cells[0].cell) if cells else []
    if len(paths) != 2:
        return None
    rows, columns = (_values(cells, path) for path in paths)
    if min(len(rows), len(columns)) < 2:
        return None
    by_cell = {tuple(_key(standing.cell[path]) for path in paths): standing for standing in cells}
    grid = [[by_cell.get((row, column)) for column in columns] for row in rows]
    return {
        "rows": {"path": paths[0], "values": list(rows.values())},
        "columns": {"path": paths[1], "values": list(columns.values())},
        "errors": [[None if one is None else one.mean for one in row] for row in grid],
        "raced_out": [[one is not None and one.raced_out for one in row] for row in grid],
    }


def _values(cells: Sequence[Standing], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for standing in cells:
        found.setdefault(_key(standing.cell[path]), standing.cell[path])
    return found


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
