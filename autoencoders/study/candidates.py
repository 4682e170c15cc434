"""Which inits are candidates for a model: those meant for its architecture and its activation.

A control, a start that another one contains, and a start that never was near the best for a unit is none.
Sigmoid units have candidates of their own: behind them plain random weights, He's and Glorot's among them,
give all rows the same code.
"""

from __future__ import annotations

from typing import Any

from autoencoders.init import InitChoice, inits
from autoencoders.models import Autoencoder
from autoencoders.study.pretraining import dose

PRETRAINED_ROWS = 120_000
"""So many rows, some of them again and again, teach a Boltzmann machine what it can be taught at first."""
MOST_PRETRAINING = 10
MEAN = {"output_bias": "mean"}

FOR_ALL: tuple[dict[str, Any], ...] = (
    {"name": "pca"},
    {"name": "pca_greedy"},
    {"name": "spectral_mup", **MEAN},
)
"""Starts for any activation: two that look at the rows, and one that gives narrow layers larger rates."""
WHITENING: dict[str, Any] = {"name": "whitening"}
SIGMOID: tuple[dict[str, Any], ...] = ({"name": "lsuv", **MEAN},)
OTHER_UNITS: tuple[dict[str, Any], ...] = (
    {"name": "isometry"},
    {"name": "orthogonal", "centre": True, **MEAN},
    {"name": "he_normal", **MEAN},
)
"""Starts that keep signals alive where units are not sigmoid; `isometry` refuses what is not like tanh."""
RESIDUAL: tuple[dict[str, Any], ...] = (
    {"name": "zero_branch", **MEAN},
    {"name": "depth_scaled", **MEAN},
    {"name": "fixup"},
)


def candidates(
    wanted: InitChoice, model: Autoencoder, rows: int, *, epochs: int | None = None
) -> list[InitChoice]:
    """The inits to choose between for a model, those first that are best most often.

    Args:
        wanted: the `auto` of the spec; its `output_bias` and `centre` hold for every candidate.
        model: built, perhaps without memory; what a word refuses is left out.
        rows: training rows, by which pretraining is dosed.
        epochs: of pretraining and training together, where they share them: a pretraining leaves half of
            them to the training, and one that would leave none is no candidate.
    """
    options = {
        name: value
        for name, value in (("output_bias", wanted.output_bias), ("centre", wanted.centre))
        if value not in ("zero", False)
    }
    return [
        choice
        for choice in (inits.choose({**words, **options}) for words in _meant(model, rows, epochs))
        if not choice.problems(model)
    ]


def _meant(model: Autoencoder, rows: int, epochs: int | None) -> list[dict[str, Any]]:
    layers = model.layers()
    units = {layer.fed_by.word for layer in layers if layer.fed_by is not None}
    # The last refuses every code that is not sparse.
    found = [*FOR_ALL, *RESIDUAL, WHITENING, {"name": "sparse_dictionary"}]
    if "sigmoid" not in units:
        return [*found, *OTHER_UNITS]
    return [*found, *_pretraining(model, rows, epochs), *SIGMOID]


def _pretraining(model: Autoencoder, rows: int, epochs: int | None) -> list[dict[str, Any]]:
    word = "rbm_stack"
    usual = min(MOST_PRETRAINING, max(1, -(-PRETRAINED_ROWS // max(rows, 1))))
    if epochs is None:
        return [{"name": word, "epochs": usual}]
    each = inits.choose(word, epochs=1).passes(model, model.layers(), rows)
    return [{"name": word, "epochs": dose(each, epochs, usual)}] if each <= epochs - 1 else []
