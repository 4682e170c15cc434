"""How much of a budget in epochs goes to what happens before the first step."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import ValidationError

from autoencoders import build
from autoencoders.data.manifest import Facts
from autoencoders.errors import SpecRefused
from autoencoders.init import inits
from autoencoders.init.plan import passes, pretrains
from autoencoders.spec import Spec

USUAL = 10
"""Epochs of a layer's pretraining where nothing speaks against it."""
BY_TIME = 2
"""The same in a budget of seconds."""


def passes_of(spec: Spec, facts: Facts) -> float:
    """How often the init of a resolved spec passes over the training rows."""
    if not pretrains(spec.init):
        return 0.0
    with torch.device("meta"):
        model = build.model(spec, facts)
    return passes(spec.init, model, facts.training_rows)


def charged(spec: Spec, facts: Facts) -> Spec:
    """The spec with its pretraining's passes over the rows taken off its epochs; at least 1 stays."""
    left = max(1, spec.training.epochs - math.ceil(passes_of(spec, facts)))
    return spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": left})})


def dose(each: float, epochs: int, usual: int) -> int:
    """Epochs of a layer's pretraining that leave half of so many to the training; never none.

    Args:
        each: passes over the rows of a pretraining of one epoch a layer.
        epochs: pretraining and training together.
        usual: the most.
    """
    return max(1, min(usual, int(epochs / 2 / max(each, 1e-9))))


def pretrained(word: str, document: dict[str, Any], facts: Facts, epochs: int | None) -> Any:
    """A pretraining that leaves half of so many epochs to the training, at least one epoch in any case.

    Any other word is answered as it is, and so is one that cannot be built for this document.
    """
    if "passes" not in inits[word].traits:
        return word
    if epochs is None:
        return {"name": word, "epochs": BY_TIME}
    known = {key: value for key, value in document.items() if key in Spec.model_fields}
    try:
        spec = Spec.model_validate({**known, "init": {"name": word, "epochs": 1}}).resolve(facts)
        each = passes_of(spec, facts)
    except (ValidationError, SpecRefused):
        return word
    return {"name": word, "epochs": dose(each, epochs, USUAL)}
