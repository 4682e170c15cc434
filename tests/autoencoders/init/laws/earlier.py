"""The word that goes on from an earlier model."""

from __future__ import annotations

import torch
from torch.nn.utils import parametrize

from autoencoders.events import Initialised
from autoencoders.layers.layer import Layer
from tests.autoencoders.init.laws import Trial, law, needs, without_chance
from tests.autoencoders.init.maps import passed_through
from tests.autoencoders.init.nets import context

needs("model", source="before@1")
without_chance("model")


@law("model")
def of_an_equal_model_every_tensor_is_the_same(trial: Trial) -> None:
    given = context(trial.model)
    assert given.earlier is not None
    before = given.earlier("before@1").model
    for mine, theirs in zip(trial.model.layers(), before.layers(), strict=True):
        if mine.weight is not None and theirs.weight is not None:
            # Through a norm of the weight, a weight comes back but for rounding.
            torch.testing.assert_close(mine.weight, theirs.weight, rtol=1e-3, atol=1e-5)
            assert _normed(mine) or torch.equal(mine.weight, theirs.weight)
    old = before.state_dict()
    for name, value in trial.model.state_dict().items():
        if "parametrizations" not in name:
            assert torch.equal(value, old[name])


def _normed(layer: Layer) -> bool:
    return parametrize.is_parametrized(layer.module, "weight")


@law("model")
def it_says_what_became_of_every_layer(trial: Trial) -> None:
    (event,) = [e for e in trial.events if isinstance(e, Initialised) and e.part == "weights"]
    assert event.detail["source"] == "before@1"
    assert event.detail["layers"] == {layer.name: "kept" for layer in trial.model.layers()}
    assert passed_through(trial)
