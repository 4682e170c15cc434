"""`auto`: what is raced, how long, and that the choice is the race's best."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from typing import Any

import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from autoencoders.data import Dataset
from autoencoders.errors import SpecRefused
from autoencoders.events import Finished, Initialised
from autoencoders.experiment import Experiment
from autoencoders.init import InitChoice, inits
from autoencoders.init.auto import FEWEST_STEPS, FINALISTS
from autoencoders.spec import Spec
from autoencoders.study.auto import (
    CLOSE,
    FEWEST,
    SURE,
    Auto,
    Entry,
    NoCandidate,
    in_front,
    rank,
)
from autoencoders.study.race import Outcome
from autoencoders.study.settle import Settling
from tests.autoencoders.study.settling import job, rows, settled, timeless


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rows(tmp_path_factory.mktemp("auto"))


def evidence(spec: Spec, dataset: Dataset, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = settled(spec, dataset, **options).evidence["auto"]
    return found


def error_of(spec: Spec, dataset: Dataset) -> float:
    """The held-out error of a whole training."""
    (end,) = (event for event in Experiment(spec, dataset).run() if isinstance(event, Finished))
    return end.error


def test_the_choice_is_the_races_best_and_every_candidate_is_accounted_for(dataset: Dataset) -> None:
    settling = settled(job("tanh"), dataset)
    found = settling.evidence["auto"]
    raced = [entry for entry in found["candidates"] if entry["raced"]]
    assert FEWEST <= len(raced) <= FINALISTS
    assert found["chosen"] == min(raced, key=lambda entry: entry["error"])["init"]
    assert all(entry["rounds"][0]["steps"] == found["rounds"][0]["steps"] >= FEWEST_STEPS for entry in raced)
    others = [entry for entry in found["candidates"] if not entry["raced"]]
    assert others
    assert max(min(entry["forecast"], SURE) for entry in others) <= min(entry["forecast"] for entry in raced)
    assert isinstance(settling.spec.init, InitChoice)
    assert settling.spec.init.model_dump(mode="json") == found["chosen"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_race_as_long_as_the_job_is_the_job(dataset: Dataset) -> None:
    spec = job(epochs=5)
    settling = settled(spec, dataset)
    found = settling.evidence["auto"]
    assert found["rounds"] == [{"rows": 180, "epochs": 5, "steps": 30}]
    errors = {entry["init"]["name"]: entry["error"] for entry in found["candidates"] if entry["raced"]}
    assert error_of(settling.spec, dataset) == errors[found["chosen"]["name"]]
    other = next(name for name in errors if name != found["chosen"]["name"])
    (entry,) = (entry for entry in found["candidates"] if entry["init"]["name"] == other)
    init = inits.choose(entry["init"])
    assert error_of(spec.model_copy(update={"init": init}), dataset) == errors[other]


def test_what_it_says_it_spent_are_the_steps_that_were_taken(dataset: Dataset) -> None:
    """Of a job so long that its own diagnosis rehearses, while those of candidates do not."""
    spec, taken = job("tanh", epochs=400), Counter[str]()
    hook = register_optimizer_step_post_hook(lambda *_: taken.update(["steps"]))
    try:
        spent = evidence(spec, dataset)["steps"]
    finally:
        hook.remove()
    assert taken["steps"] == sum(spent.values())
    experiment = Experiment(spec.model_copy(update={"init": inits.choose("he_normal")}), dataset)
    assert experiment.diagnose().rehearsal is not None


def test_a_large_budget_is_used_and_kept_to(dataset: Dataset) -> None:
    found = evidence(job(epochs=800, init={"name": "auto", "budget": 0.9}), dataset)
    assert found["job_steps"] == 4800
    first = found["rounds"][0]["steps"]
    assert first > FEWEST_STEPS
    assert sum(found["steps"].values()) <= 1.02 * 0.9 * 4800
    assert found["share"] == pytest.approx(sum(found["steps"].values()) / 4800, abs=1e-4)


def test_a_spec_that_names_no_init_trains_from_the_one_that_was_chosen(dataset: Dataset) -> None:
    spec = Spec.model_validate({"code": 3, "training": {"epochs": 3, "batch_size": 32}})
    settling = Settling(spec, dataset, threads=1)
    assert settling.is_needed
    list(settling.run())
    experiment = Experiment(settling.spec, dataset, diagnose=False)
    began = [event.word for event in experiment.run() if isinstance(event, Initialised)]
    found = settling.evidence["auto"]
    assert began[-1] == found["chosen"]["name"] != "auto"
    assert experiment.metrics is not None
    # The race was as long as the job.
    assert experiment.metrics.error == pytest.approx(found["candidates"][0]["error"])


def test_those_that_are_close_run_again_for_longer(dataset: Dataset) -> None:
    found = evidence(job("selu", epochs=80), dataset)
    first, last = found["rounds"]
    assert first["steps"] < 2 * first["steps"] <= last["steps"]
    best = min(entry["rounds"][0]["error"] for entry in found["candidates"] if entry["raced"])
    again = [entry for entry in found["candidates"] if len(entry["rounds"]) == 2]
    assert 2 <= len(again) <= 3
    assert all(entry["rounds"][0]["error"] <= CLOSE * best for entry in again)
    assert found["chosen"] == min(again, key=lambda entry: entry["error"])["init"]
    # The whole schedule is in every race: how long the job is changes nothing of it.
    longer = evidence(job("selu", epochs=120), dataset)
    first_errors, others = (
        {entry["init"]["name"]: entry["rounds"][0]["error"] for entry in one["candidates"] if entry["raced"]}
        for one in (found, longer)
    )
    common = first_errors.keys() & others.keys()
    assert len(common) >= FEWEST
    assert all(first_errors[name] == others[name] for name in common)


def test_sigmoid_units_get_a_start_from_which_they_learn(dataset: Dataset) -> None:
    architecture = {"name": "dense", "widths": [16, 12, 8], "code": 3, "activation": "sigmoid"}
    settling = settled(job(epochs=20, architecture=architecture), dataset)
    assert isinstance(settling.spec.init, InitChoice)
    assert not settling.spec.init.name.startswith(("he_", "glorot_"))
    mean = settling.evidence["auto"]["baselines"]["mean"]
    plain = settling.spec.model_copy(update={"init": inits.choose("glorot_normal")})
    assert error_of(settling.spec, dataset) < 0.5 * mean < error_of(plain, dataset)
    # A stack of four machines, ten epochs each of six steps.
    found = settling.evidence["auto"]
    assert found["steps"]["pretraining"] == 4 * 10 * 6
    assert found["share"] == pytest.approx(sum(found["steps"].values()) / found["job_steps"], abs=1e-4)


def test_where_every_runner_diverges_the_forecast_decides_and_each_says_why(dataset: Dataset) -> None:
    found = evidence(job(epochs=5, optimizer={"name": "sgd", "learning_rate": 1e8}), dataset)
    raced = [entry for entry in found["candidates"] if entry["raced"]]
    assert len(raced) == FINALISTS
    assert all(entry["error"] is None and "diverged" in entry["why"] for entry in raced)
    assert found["chosen"] in [entry["init"] for entry in raced]


def test_one_that_diverges_when_it_runs_for_longer_stands_behind_those_that_did_not() -> None:
    def entry(*errors: float, forecast: float = 0.5) -> Entry:
        rounds = [Outcome(error, 200 * place) for place, error in enumerate(errors, start=1)]
        return Entry(inits.choose("lsuv"), forecast=forecast, rounds=rounds)

    ranked = [
        entry(3.0, 2.5),
        entry(2.9, 2.8),
        entry(4.0),
        entry(2.8, math.inf),
        entry(math.inf, forecast=0.8),
        entry(math.inf),
        entry(forecast=0.7),
        entry(),
    ]
    shuffled = [ranked[place] for place in (5, 2, 7, 0, 3, 6, 1, 4)]
    assert sorted(shuffled, key=rank) == ranked


@pytest.mark.parametrize(
    ("errors", "again"),
    [
        ([1.26, 1.1, 1.0, 1.25, 1.2], [1.0, 1.1, 1.2]),
        ([1.26, 1.0, 1.25], [1.0, 1.25]),
        ([2.0, 1.0], [1.0]),
        ([math.inf, math.inf], []),
    ],
)
def test_up_to_three_within_a_quarter_of_the_best_run_again(errors: list[float], again: list[float]) -> None:
    entries = [Entry(inits.choose("lsuv"), rounds=[Outcome(error, 200)]) for error in errors]
    assert [entry.rounds[-1].error for entry in in_front(entries)] == again


def choice_without(words: set[str] | None, dataset: Dataset) -> Auto:
    """A choice where these words (None: all) cannot begin the model."""
    spec = job(epochs=5).resolve(dataset.facts)

    def make(choice: InitChoice) -> Experiment:
        if words is None or choice.name in words:
            raise SpecRefused([(("init",), "not here")])
        return Experiment(spec.model_copy(update={"init": choice}), dataset, diagnose=False)

    return Auto(spec, dataset, make, clock=time.monotonic)


def test_a_candidate_that_breaks_is_out_and_the_others_race(dataset: Dataset) -> None:
    auto = choice_without({"pca", "he_normal"}, dataset)
    assert list(auto.run())
    out = {entry["init"]["name"]: entry["why"] for entry in auto.evidence["candidates"] if entry["why"]}
    assert out == {"pca": "init: not here", "he_normal": "init: not here"}
    assert len([entry for entry in auto.evidence["candidates"] if entry["raced"]]) >= FEWEST


def test_where_none_can_begin_the_job_fails_and_says_why(dataset: Dataset) -> None:
    with pytest.raises(NoCandidate, match="pca: init: not here; pca_greedy: init: not here"):
        list(choice_without(None, dataset).run())


def test_with_no_time_left_the_first_candidate_is_looked_at_and_taken(dataset: Dataset) -> None:
    found = evidence(job(), dataset, seconds=1e-9, most_rows=100)
    looked_at = [entry for entry in found["candidates"] if entry["outlook"] is not None]
    assert [entry["init"] for entry in looked_at] == [found["chosen"]]
    assert all("no time" in entry["why"] for entry in found["candidates"])


def test_it_is_settled_again_alike_and_enough_time_changes_nothing(dataset: Dataset) -> None:
    spec = job("tanh", epochs=5)
    settling = Settling(spec, dataset, threads=1, seconds=600.0)
    events = [event for event in settling.run() if isinstance(event, Initialised)]
    found = settling.evidence["auto"]
    assert timeless(found) == timeless(evidence(spec, dataset))
    # Events tell of every candidate, and at last of the choice.
    assert {event.word for event in events} == {"auto"}
    phases = [event.detail.get("phase") for event in events]
    raced = sum(len(entry["rounds"]) for entry in found["candidates"])
    assert phases == ["diagnosis"] * len(found["candidates"]) + ["race"] * raced + [None]
    assert events[-1].detail["chosen"] == found["chosen"]


def test_nothing_happens_where_nothing_is_open(dataset: Dataset) -> None:
    spec = job(init="orthogonal")
    settling = Settling(spec, dataset)
    assert not settling.is_needed
    assert list(settling.run()) == []
    assert settling.spec == spec.resolve(dataset.facts)
    assert settling.evidence == {"auto": None, "learning_rate": None}


def test_what_cannot_be_built_is_refused_before_anything_is_tried(dataset: Dataset) -> None:
    with pytest.raises(SpecRefused) as refused:
        Settling(job(objective={"augmentation": "flip"}), dataset)
    assert refused.value.problems[0][0] == ("objective", "augmentation")
