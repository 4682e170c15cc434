"""A grid over fields of a spec: paths and values become cells, and a cell's values take their places.

A path is a field's place with dots between: `init`, `architecture.activation`, `optimizer.learning_rate`,
`init.encoder`, `objective.penalties.0.rate`.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from autoencoders.errors import SpecRefused
from autoencoders.init.plan import PART_INIT
from autoencoders.spec import Spec

Document: TypeAlias = dict[str, Any]
Location: TypeAlias = tuple[str, ...]

PARTS = ("encoder", "code", "decoder")
ONE_SCALE = "held-out errors are in scaled units, and those of two scalings cannot be compared"
FIXED: dict[str, str] = {
    "dataset": "a study is of one dataset",
    "model": "only what the study keeps gets a name",
    "promote": "only what the study keeps is promoted",
    "align_to": "it changes no error",
    "labels": "they are the study's",
    "device": "it changes no error",
    "scaling": ONE_SCALE,
    "training": "name one of its fields, as in training.batch_size",
    "training.seed": "the study's `seeds` say it",
    "training.epochs": "the study's `budget` says it, equal for every cell",
    "training.max_seconds": "the study's `budget` says it, equal for every cell",
}
"""Paths over which there can be no grid, and why."""


@dataclass(frozen=True)
class Axis:
    """One path of a grid and the values that it takes.

    Attributes:
        path: as it was submitted.
        steps: the fields from the top of a spec down to it.
        values: as they were submitted.
    """

    path: str
    steps: Location
    values: tuple[Any, ...]


def read_axes(grid: Mapping[str, Sequence[Any]]) -> tuple[Axis, ...]:
    """The axes of a grid, in its order.

    Raises:
        SpecRefused: no axis or no value, a value twice, a path that is no field's or may not vary; located
            at `("grid", path)` and at `("grid", path, place of the value)`.
    """
    if not grid:
        raise SpecRefused([(("grid",), "names no path: a study compares something")])
    problems = [problem for path, values in grid.items() for problem in _axis_problems(path, values)]
    axes = tuple(Axis(path, _steps(path), tuple(values)) for path, values in grid.items())
    taken: dict[Location, str] = {}
    for axis in axes:
        if axis.steps in taken:
            problems.append((("grid", axis.path), f"is the same field as {taken[axis.steps]!r}"))
        taken[axis.steps] = axis.path
    if problems:
        raise SpecRefused(problems)
    return axes


def _steps(path: str) -> Location:
    steps = tuple(path.split("."))
    if steps[:2] == ("init", "layers"):
        # A layer's own name has a dot in it.
        return ("init", "layers", ".".join(steps[2:])) if steps[2:] else steps
    return ("architecture", *steps) if steps[0] == "code" else steps


def _axis_problems(path: str, values: Sequence[Any]) -> Iterator[tuple[Location, str]]:
    steps = _steps(path)
    if path in FIXED or steps[0] in FIXED.keys() - {"training"}:
        yield ("grid", path), f"cannot vary: {FIXED[path if path in FIXED else steps[0]]}"
    elif steps[0] not in Spec.model_fields:
        yield ("grid", path), f"there is no field {steps[0]!r}; there are {', '.join(Spec.model_fields)}"
    elif not all(steps):
        yield ("grid", path), "a path is names with single dots between"
    if not values:
        yield ("grid", path), "has no values"
    seen: dict[str, int] = {}
    for place, value in enumerate(values):
        written = json.dumps(value, sort_keys=True)
        if written in seen:
            yield ("grid", path, str(place)), f"is the same as value {seen[written]}"
        seen.setdefault(written, place)


def combinations(axes: Sequence[Axis]) -> Iterator[tuple[tuple[int, ...], Document]]:
    """Every cell: the place of its value on each axis, and `{path: value}`; the last axis varies fastest."""
    for places in itertools.product(*(range(len(axis.values)) for axis in axes)):
        yield places, {axis.path: axis.values[place] for axis, place in zip(axes, places, strict=True)}


def normalised(base: Mapping[str, Any]) -> Document:
    """The base with `code` in its architecture, and an architecture as an object, so that paths lead in."""
    document = copy.deepcopy(dict(base))
    code = document.pop("code", None)
    architecture = document.get("architecture", "dense")
    if isinstance(architecture, str):
        architecture = {"name": architecture}
    if code is not None and isinstance(architecture, dict):
        if architecture.get("code", code) != code:
            message = "`code` is short for `architecture.code`: give one of them, or the same in both"
            raise SpecRefused([(("base", "code"), message)])
        architecture = {**architecture, "code": code}
    return {**document, "architecture": architecture}


def placed(document: Document, axes: Sequence[Axis], places: Sequence[int]) -> Document:
    """A copy of a normalised document with one value of each axis in it; shorter paths go first.

    Raises:
        SpecRefused: a path leads through what has no fields, located at `("grid", path)`.
    """
    document = copy.deepcopy(document)
    chosen = sorted(zip(axes, places, strict=True), key=lambda pair: len(pair[0].steps))
    for axis, place in chosen:
        value = copy.deepcopy(axis.values[place])
        if axis.steps == ("architecture",):
            value = _with_code(value, document["architecture"])
        _put(document, axis, value)
    return document


def _with_code(value: Any, base: Any) -> Any:
    """Another architecture has the base's code, unless it brings its own."""
    value = {"name": value} if isinstance(value, str) else value
    if isinstance(value, dict) and isinstance(base, dict) and "code" in base:
        return {"code": base["code"], **value}
    return value


def _put(document: Document, axis: Axis, value: Any) -> None:
    *way, last = axis.steps
    inside: Any = document
    for depth, step in enumerate(way):
        below = _opened(_get(inside, step), axis.steps[: depth + 2])
        if below is None and axis.steps[depth + 1].isdecimal():
            raise SpecRefused([(("grid", axis.path), f"the base has no list of items at {step!r}")])
        if below is None:
            below = _default(axis.steps[: depth + 2])
        _set(inside, step, below, axis)
        inside = below
    _set(inside, last, value, axis)


def _get(inside: Any, step: str) -> Any:
    if isinstance(inside, list):
        return inside[int(step)] if step.isdecimal() and int(step) < len(inside) else None
    return inside.get(step) if isinstance(inside, dict) else None


def _set(inside: Any, step: str, value: Any, axis: Axis) -> None:
    if isinstance(inside, dict):
        inside[step] = value
    elif isinstance(inside, list) and step.isdecimal() and int(step) < len(inside):
        inside[int(step)] = value
    else:
        where = ".".join(axis.steps[: axis.steps.index(step)])
        raise SpecRefused([(("grid", axis.path), f"there is no {step!r} inside of {where} in the base")])


def _opened(value: Any, steps: Location) -> Any:
    """What a path leads on through: a word as an object, and an init as its parts where one is named."""
    if steps[0] == "init" and len(steps) == 2 and steps[1] in (*PARTS, "layers"):
        word = value is None or isinstance(value, str) or (isinstance(value, dict) and "name" in value)
        if word:
            # Of an init that the base leaves out, so are the parts: they have their own default.
            value = {} if value is None else {part: copy.deepcopy(value) for part in PARTS}
            return value | ({"layers": {}} if steps[1] == "layers" else {})
    return {"name": value} if isinstance(value, str) else value


def _default(steps: Location) -> Any:
    """What a spec has in the field before the last step where the base does not name it, as a document."""
    field = Spec.model_fields.get(steps[0])
    if steps[0] == "init" and len(steps) == 3 and steps[1] in PARTS:
        return {"name": PART_INIT}
    if steps[0] == "architecture" or len(steps) > 2 or field is None:
        return {}
    default = field.get_default()
    if hasattr(default, "model_dump"):
        return default.model_dump(mode="json", exclude_unset=True)
    return {"name": default} if isinstance(default, str) else copy.deepcopy(default) or {}


def untagged(location: Sequence[str | int], document: Any) -> Location:
    """An error's location without the words by which a union chose its case."""
    found: list[str] = []
    inside = document
    for part in location:
        if isinstance(inside, dict) and inside.get("name") == part and part not in inside:
            continue
        if isinstance(inside, str) and inside == part:
            continue  # a bare word stands for its object
        found.append(str(part))
        inside = _get(inside, str(part))
    return tuple(found)
