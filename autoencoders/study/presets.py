"""Ready grids: questions that many will have, each as a base and the grid over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from autoencoders.data.manifest import Facts
from autoencoders.init import inits
from autoencoders.study.grid import Document, normalised
from autoencoders.study.pretraining import pretrained

Grid: TypeAlias = dict[str, list[Any]]

WIDTHS_OF_2006 = (1000, 500, 250)
UNITS = ("sigmoid", "tanh", "relu", "leaky_relu")
STARTS = ("glorot_normal", "he_normal", "orthogonal", "lsuv", "autoinit", "pca_greedy")


@dataclass(frozen=True)
class Preset:
    """A ready grid.

    Attributes:
        name: what a study calls it.
        summary: the question it answers.
        make: from a base, the dataset's facts and the budget's epochs (None where it is in seconds) to a base
            and the grid over it.
    """

    name: str
    summary: str
    make: Callable[[Document, Facts, int | None], tuple[Document, Grid]]


def _inits(base: Document, facts: Facts, epochs: int | None) -> tuple[Document, Grid]:
    """Every init that needs no parameter, but the controls and those that stand for others."""
    words = [
        entry.name
        for entry in inits
        if not entry.traits.get("warning")
        and not entry.traits.get("settled")
        and not any(field.is_required() for field in entry.schema.model_fields.values())
    ]
    return base, {"init": [pretrained(word, base, facts, epochs) for word in words]}


def _inits_by_units(base: Document, _facts: Facts, _epochs: int | None) -> tuple[Document, Grid]:
    return base, {"init": list(STARTS), "architecture.activation": list(UNITS)}


def _classic(base: Document, facts: Facts, epochs: int | None) -> tuple[Document, Grid]:
    """The net of 2006 from the starts that failed it, those that rescued it, and today's."""
    given = base["architecture"] if isinstance(base["architecture"], dict) else {}
    widths = given.get("widths") or list(WIDTHS_OF_2006)
    net = {"name": "dense", "widths": list(widths), **({"code": given["code"]} if "code" in given else {})}
    sigmoid = {**base, "architecture": {**net, "activation": "sigmoid"}}
    starts: list[Any] = [
        {"name": "normal", "std": 0.01},
        {"name": "normal", "std": 1.0},
        "glorot_normal",
        "he_normal",
        "sparse",
        "lsuv",
        "pca_greedy",
        pretrained("rbm_stack", sigmoid, facts, epochs),
    ]
    units = ["sigmoid", "tanh", "leaky_relu"]
    return {**base, "architecture": net}, {"init": starts, "architecture.activation": units}


PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("inits", "which of all starts is best for this net on these rows?", _inits),
        Preset(
            "inits-x-activations",
            "six starts with four units, 24 cells: which belong together on these rows?",
            _inits_by_units,
        ),
        Preset(
            "classic-2006",
            "did the deep net of 2006 need its pretraining, and does it still? Eight starts with three units",
            _classic,
        ),
    )
}
"""The presets by their names."""


def expand(preset: str, base: Mapping[str, Any], facts: Facts, epochs: int | None) -> tuple[Document, Grid]:
    """The base that a preset makes of a base, and its grid.

    Raises:
        KeyError: there is no such preset.
        SpecRefused: the base is at odds with itself.
    """
    return PRESETS[preset].make(normalised(base), facts, epochs)
