"""An experiment: from a spec and a dataset to a model, watched, stopped, resumed and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoencoders import bundle
from autoencoders.data import Dataset, write_rows
from autoencoders.errors import SpecRefused, TrainingDiverged
from autoencoders.events import Checkpoint, Epoch, Event, Finished, Initialised, Step
from autoencoders.experiment import Experiment, Unfinished
from autoencoders.spec import Spec
from autoencoders.training import TrainingState
from tests.autoencoders import tiny
from tests.autoencoders.tiny import Clock

SPEC: dict[str, Any] = {
    "architecture": {"name": "dense", "widths": [8, 6], "code": 3},
    "init": "he_normal",
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "training": {"epochs": 4, "batch_size": 32},
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    write_rows(tiny.rows(200), tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset")


def experiment(
    dataset: Dataset, *, clock: Clock | None = None, checkpoint_seconds: float = 10.0, **spec: Any
) -> Experiment:
    read = Spec.model_validate({**SPEC, **spec})
    return Experiment(read, dataset, clock=clock or Clock(), checkpoint_seconds=checkpoint_seconds)


def left_half_way(dataset: Dataset, **options: Any) -> TrainingState:
    """The state of a training that was left after nine steps."""
    killed = experiment(dataset, clock=Clock(0.3), checkpoint_seconds=float("inf"), **options)
    for event in killed.run():
        if isinstance(event, Step) and event.step >= 9:
            killed.checkpoint()
        if isinstance(event, Checkpoint):
            return event.state
    raise AssertionError("the training ended before its ninth step")


def test_its_events_tell_of_the_init_the_epochs_and_the_end(dataset: Dataset) -> None:
    events = list(experiment(dataset).run())
    assert isinstance(events[0], Initialised)
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3, 4]
    assert isinstance(events[-1], Finished)


def test_an_init_that_is_still_to_be_chosen_is_refused_with_the_way_to_choose_it(dataset: Dataset) -> None:
    with pytest.raises(SpecRefused) as refused:
        Experiment(Spec.model_validate({"code": 2}), dataset)
    [(place, said)] = refused.value.problems
    assert place == ("init",)
    assert "Settling(spec, dataset)" in said


def test_the_smallest_spec_trains_on_rows_in_the_unit_interval(dataset: Dataset) -> None:
    small = Experiment(
        Spec.model_validate({"code": 2, "init": "he_normal", "training": {"epochs": 2}}),
        dataset,
        clock=Clock(),
    )
    finished = list(small.run())[-1]
    assert small.spec.objective.loss is not None
    assert small.spec.objective.loss.name == "bce"
    assert isinstance(finished, Finished)
    assert finished.ended == "epochs"


def test_a_spec_that_does_not_fit_the_dataset_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SpecRefused, match="augmentation"):
        experiment(dataset, objective={"augmentation": "flip"})


def test_a_gradient_that_a_line_search_follows_cannot_be_clipped(dataset: Dataset) -> None:
    clipped = {**SPEC["training"], "clip_norm": 1.0}
    experiment(dataset, training=clipped)
    with pytest.raises(SpecRefused, match="searches along a line") as refused:
        experiment(dataset, optimizer="lbfgs", training=clipped)
    assert [where for where, _ in refused.value.problems] == [("training", "clip_norm")]


def test_lbfgs_trains_an_init_that_asks_for_factors_without_them(dataset: Dataset) -> None:
    made = experiment(
        dataset, optimizer="lbfgs", init="spectral_mup", training={**SPEC["training"], "epochs": 1}
    )
    assert isinstance(list(made.run())[-1], Finished)


def test_the_same_seed_gives_the_same_model_and_another_one_another(dataset: Dataset) -> None:
    weights = []
    for seed in (0, 0, 1):
        made = experiment(dataset, training={**SPEC["training"], "seed": seed})
        list(made.run())
        weights.append(torch.cat([parameter.detach().flatten() for parameter in made.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_baselines_are_those_of_the_held_out_rows(dataset: Dataset) -> None:
    found = experiment(dataset).baselines
    mean = dataset.training.mean(0, dtype=np.float64)
    assert found["mean"] == pytest.approx(float(np.square(dataset.held_out - mean).sum(1).mean()), rel=1e-5)
    assert found["pca"] is not None
    assert found["mean"] is not None
    assert 0 < found["pca"] < found["mean"]


def test_a_good_training_beats_the_mean(dataset: Dataset) -> None:
    made = experiment(dataset, training={"epochs": 40, "batch_size": 16})
    finished = list(made.run())[-1]
    assert isinstance(finished, Finished)
    assert made.baselines["mean"] is not None
    assert finished.error < 0.7 * made.baselines["mean"]


def test_metrics_and_scores_are_those_of_the_best_weights(dataset: Dataset) -> None:
    made = experiment(dataset)
    finished = list(made.run())[-1]
    assert isinstance(finished, Finished)
    assert made.metrics is not None
    assert made.metrics.error == finished.error
    assert made.metrics.loss == finished.loss
    assert made.scores.shape == (dataset.facts.held_out_rows,)
    assert float(made.scores.mean()) == pytest.approx(finished.error, rel=1e-5)


def test_stopping_ends_with_the_best_weights(dataset: Dataset) -> None:
    made = experiment(dataset, clock=Clock(0.3), training={"epochs": 500, "batch_size": 32})
    events: list[Event] = []
    for event in made.run():
        events.append(event)
        if isinstance(event, Step) and event.step > 10:
            made.stop("stopped")
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.ended == "stopped"
    assert finished.step < 20
    assert made.metrics is not None


def test_a_checkpoint_can_be_asked_for_and_resumed_from_in_another_process_s_experiment(
    dataset: Dataset,
) -> None:
    calm = experiment(dataset, objective={"corruption": {"name": "gaussian", "std": 0.1}})
    list(calm.run())

    noisy: dict[str, Any] = {"objective": {"corruption": {"name": "gaussian", "std": 0.1}}}
    state = left_half_way(dataset, **noisy)
    resumed = experiment(dataset, **noisy)
    events = list(resumed.run(state))
    assert not [event for event in events if isinstance(event, Initialised)]
    for one, other in zip(calm.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert calm.metrics == resumed.metrics


def test_an_init_that_took_long_is_followed_by_a_checkpoint(dataset: Dataset) -> None:
    events = list(experiment(dataset, clock=Clock(20.0), checkpoint_seconds=10.0).run())
    first = next(event for event in events if isinstance(event, Checkpoint))
    assert first.step == 1


def test_a_divergence_is_raised_with_its_reason(dataset: Dataset) -> None:
    wild = experiment(dataset, optimizer={"name": "sgd", "learning_rate": 1e9}, schedule="constant")
    with pytest.raises(TrainingDiverged):
        list(wild.run())


def test_nothing_is_saved_before_the_end(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Unfinished):
        experiment(dataset).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_saved_is_what_was_trained(dataset: Dataset, tmp_path: Path) -> None:
    made = experiment(dataset)
    list(made.run())
    manifest = made.save(tmp_path / "model")
    loaded = bundle.load(tmp_path / "model")
    assert manifest == loaded.manifest
    assert manifest.dataset_sha256 == dataset.manifest.sha256
    assert manifest.baselines == made.baselines
    rows = torch.from_numpy(made.affine.apply(dataset.held_out))
    expected = made.model.eval().encode(rows).detach().numpy()
    np.testing.assert_array_equal(loaded.encode(dataset.held_out), expected)


def test_the_number_of_threads_is_set_where_it_is_given(dataset: Dataset) -> None:
    before = torch.get_num_threads()
    try:
        Experiment(Spec.model_validate(SPEC), dataset, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_factors_of_an_init_reach_the_optimizer_and_outlive_a_resume(dataset: Dataset) -> None:
    wide: dict[str, Any] = {"init": {"name": "spectral_mup", "base_width": 4}}
    calm = experiment(dataset, **wide)
    told = [event for event in calm.run() if isinstance(event, Initialised)]
    assert told[0].detail["factors"]["encoder.0"] == 4 / tiny.FEATURES
    assert calm.factors["encoder.0.linear.weight"] == 4 / tiny.FEATURES

    usual = experiment(dataset, init="spectral_mup")
    list(usual.run())
    # The same first weights: only the factors differ.
    assert not torch.equal(next(calm.model.parameters()), next(usual.model.parameters()))

    state = left_half_way(dataset, **wide)
    resumed = experiment(dataset, **wide)
    list(resumed.run(state))
    assert resumed.factors == calm.factors
    for one, other in zip(calm.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_an_experiment_goes_on_from_an_earlier_one_s_weights(dataset: Dataset, tmp_path: Path) -> None:
    before = experiment(dataset, training={"epochs": 20, "batch_size": 16})
    list(before.run())
    before.save(tmp_path / "before")
    asked: list[str] = []

    def earlier(source: str) -> Path:
        asked.append(source)
        return tmp_path / "before"

    read = Spec.model_validate({**SPEC, "init": {"name": "model", "source": "before@1"}})
    again = Experiment(read, dataset, earlier=earlier, clock=Clock())
    list(again.initialise())
    assert asked == ["before@1"]
    for one, other in zip(again.model.parameters(), before.model.parameters(), strict=True):
        assert torch.equal(one, other)
