"""Cells and values as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def words(cell: Mapping[str, Any]) -> str:
    """A cell as a line for people: `init=lsuv, architecture.activation=tanh`."""
    return ", ".join(f"{path}={value_words(value)}" for path, value in cell.items())


def value_words(value: Any) -> str:
    """A grid's value as people write it: a choice as `normal(std=0.01)`."""
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        inside = ", ".join(f"{key}={value_words(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({inside})" if inside else str(value["name"])
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_words(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_words, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
