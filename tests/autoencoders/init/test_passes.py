"""How often a pretraining passes over the rows is what it says of itself: counted in its events."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autoencoders.events import Initialised
from autoencoders.init import InitContext, initialize, inits, storeys
from autoencoders.init.plan import passes, pretrains, read_plan
from autoencoders.models import Autoencoder, architectures

ROWS = 60
NET = {"name": "dense", "widths": (12, 8), "code": 4, "activation": "sigmoid", "output": "sigmoid"}
PRETRAININGS = [entry.name for entry in inits if "passes" in entry.traits]


def net() -> Autoencoder:
    made: Autoencoder = architectures.call(architectures.choose(NET), (20,))
    return made


def counted(plan: Any, rows: int = ROWS) -> float:
    """Passes over so many rows, by the events of a pretraining's epochs."""
    sample = torch.rand(rows, 20, generator=torch.Generator().manual_seed(0))
    context = InitContext(seed=0, rows=lambda count: sample[:count], data_mean=sample.mean(0))
    events = [event for event in initialize(net(), plan, context) if isinstance(event, Initialised)]
    return float(sum(event.detail["rows"] / rows for event in events if "epochs" in event.detail))


def test_every_pretraining_is_one_that_tells_of_its_epochs() -> None:
    assert PRETRAININGS == ["rbm_stack", "stacked_denoising"]


@pytest.mark.parametrize("word", PRETRAININGS)
def test_a_whole_model_s_passes_are_those_of_every_layer(word: str) -> None:
    plan = read_plan({"name": word, "epochs": 3})
    assert passes(plan, net(), ROWS) == counted(plan) == 9.0
    assert pretrains(plan)


@pytest.mark.parametrize("word", PRETRAININGS)
def test_a_part_s_passes_are_those_of_its_layers(word: str) -> None:
    plan = read_plan({"encoder": {"name": word, "epochs": 3}, "code": "lsuv", "decoder": "lsuv"})
    assert passes(plan, net(), ROWS) == counted(plan) == 6.0
    assert pretrains(plan)


@pytest.mark.parametrize("word", PRETRAININGS)
def test_layers_that_others_initialise_are_only_passed_on(word: str) -> None:
    plan = read_plan({"layers": {"encoder.1": {"name": word, "epochs": 3}}})
    assert passes(plan, net(), ROWS) == counted(plan) == 3.0


@pytest.mark.parametrize("word", PRETRAININGS)
def test_a_pass_over_a_sample_counts_by_its_share(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Room for thousands of rows, of which there are twice as many.
    monkeypatch.setattr(storeys, "ROWS_BYTES", 4 * (20 + 12) * 1000)
    plan = read_plan({"name": word, "epochs": 1})
    assert passes(plan, net(), 2000) == counted(plan, 2000) == 1.5


def test_other_inits_make_none() -> None:
    for plan in (read_plan("lsuv"), read_plan({"encoder": "pca", "code": "lsuv"})):
        assert passes(plan, net(), ROWS) == 0.0
        assert not pretrains(plan)
