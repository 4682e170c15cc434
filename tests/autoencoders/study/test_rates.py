"""Learning rates that are found by trying."""

from __future__ import annotations

from typing import Any

import pytest

from autoencoders.data import Dataset
from autoencoders.events import Initialised
from autoencoders.study.rates import STEP, rate_in, smoothed, turning
from autoencoders.study.settle import Settling
from tests.autoencoders.study.settling import job, rows, settled, timeless


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rows(tmp_path_factory.mktemp("rates"))


def tried(dataset: Dataset, rule: str, rate: float, name: str = "adam") -> dict[str, Any]:
    spec = job(init="he_normal", epochs=10, optimizer={"name": name, "learning_rate": rate})
    settling = settled(spec, dataset, learning_rate=rule)
    assert settling.spec == settling.spec.model_copy(update={"init": spec.init})
    found: dict[str, Any] = settling.evidence["learning_rate"]
    assert rate_in(settling.spec) == found["chosen"]
    assert found["given"] == rate
    return found


def test_a_trial_takes_the_best_of_a_grid_and_its_best_lies_inside(dataset: Dataset) -> None:
    found = tried(dataset, "trial", 1e-3)
    errors = {entry["rate"]: entry["error"] for entry in found["tried"]}
    assert errors[found["chosen"]] == min(errors.values())
    assert min(errors) < found["chosen"] < max(errors)
    pairs = zip(sorted(errors), sorted(errors)[1:], strict=False)
    assert all(high / low == pytest.approx(STEP, rel=1e-4) for low, high in pairs)


def test_the_grid_widens_as_far_as_it_may(dataset: Dataset) -> None:
    found = tried(dataset, "trial", 1e-7)
    assert found["chosen"] == pytest.approx(1e-7 * 3.0**4, rel=1e-4)
    assert len(found["tried"]) == 6


def test_where_nothing_helps_the_grid_ends_and_the_given_rate_stays(dataset: Dataset) -> None:
    found = tried(dataset, "trial", 1e12, "sgd")
    assert [entry["error"] for entry in found["tried"]] == [None] * 6
    rates = [entry["rate"] for entry in found["tried"]]
    assert rates == pytest.approx([1e12 * 3.0**place for place in range(-4, 2)], rel=1e-4)
    assert found["chosen"] == 1e12


def test_where_everything_near_diverges_the_grid_goes_down(dataset: Dataset) -> None:
    found = tried(dataset, "trial", 20.0, "sgd")
    errors = [entry["error"] for entry in found["tried"]]
    assert errors[-1] is None
    assert found["chosen"] < 20.0
    assert errors[0] is not None


def test_a_range_test_finds_the_same_rate_wherever_it_begins_and_again(dataset: Dataset) -> None:
    found, again = (tried(dataset, "range_test", 1e-3) for _ in range(2))
    assert timeless(found) == timeless(again)
    assert found["turns_up"] == pytest.approx(10 * found["chosen"], rel=1e-3)
    assert len(found["curve"]) == 50
    elsewhere = tried(dataset, "range_test", 1e-2)["chosen"]
    assert found["chosen"] / 3 < elsewhere < 3 * found["chosen"]


def test_the_init_is_chosen_before_the_rate(dataset: Dataset) -> None:
    settling = Settling(job(epochs=5), dataset, learning_rate="range_test", threads=1)
    words = [event.word for event in settling.run() if isinstance(event, Initialised)]
    assert words.index("learning_rate") == len(words) - 1
    assert set(words[:-1]) == {"auto"}
    assert settling.evidence["auto"] is not None


def test_smoothing_has_no_bias_and_forgets() -> None:
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    assert smoothed([0.0] * 50 + [1.0] * 50)[-1] == pytest.approx(1.0, abs=0.01)


def test_a_loss_that_never_falls_turns_up_nowhere() -> None:
    assert turning([1.0, 1.0, 0.995, 3.0]) is None
    assert turning([]) is None
    assert turning([1.0, 0.7, 0.4, 0.9]) == 2
    assert turning([-1.0, -1.5, 2.0]) == 1
