"""The objective: named terms, drawn once, and the target it promises."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from autoencoders.objective import Objective
from tests.autoencoders import tiny


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6) -> torch.Tensor:
    return torch.from_numpy(tiny.rows(count))


def test_the_total_is_the_sum_of_the_named_parts() -> None:
    objective = Objective(
        penalties=[{"name": "weight_decay", "rate": 0.1}, {"name": "activity_l1", "rate": 0.2}]
    )
    terms = objective(tiny.model(), batch(), stream())
    assert list(terms.parts) == ["loss", "weight_decay", "activity_l1"]
    assert terms.total.item() == pytest.approx(sum(part.item() for part in terms.parts.values()))
    assert terms.loss is terms.parts["loss"]


def test_two_penalties_of_one_word_keep_their_own_names() -> None:
    word = {"name": "activity_l1", "rate": 0.1}
    terms = Objective(penalties=[word, word])(tiny.model(), batch(), stream())
    assert list(terms.parts) == ["loss", "activity_l1", "activity_l1.2"]
    assert torch.equal(terms.parts["activity_l1"], terms.parts["activity_l1.2"])


def test_a_corrupted_input_is_compared_with_the_clean_target() -> None:
    model, rows = tiny.model(), batch()
    objective = Objective(corruption={"name": "masking", "share": 0.5})
    terms = objective(model, rows, stream())
    pair = objective.draw(rows, stream())
    torch.testing.assert_close(terms.loss, (model(pair.input).output - rows).square().sum(1).mean())


def test_salt_and_pepper_take_the_objective_s_bounds() -> None:
    objective = Objective(corruption={"name": "salt_and_pepper", "share": 0.9}, bounds=(-5.0, 7.0))
    values = objective.draw(batch(), stream()).input
    assert values.min() == -5.0
    assert values.max() == 7.0


def test_a_drawn_pair_may_be_looked_at_twice() -> None:
    model, rows = tiny.model(), batch()
    objective = Objective(corruption={"name": "gaussian", "std": 0.5})
    pair = objective.draw(rows, stream())
    assert torch.equal(
        objective.terms(model, pair, stream(1)).total, objective.terms(model, pair, stream(2)).total
    )


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(ValidationError):
        Objective(loss={"name": "huber", "delta": -1.0})
