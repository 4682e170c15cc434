"""A diagnosis: whole for every kind of net, blind to names, and without a trace in the training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autoencoders.data import Dataset, write_rows
from autoencoders.diagnostics import Deadline, Diagnosis, Yardsticks, diagnose, look, measure
from autoencoders.diagnostics.yardsticks import closed_share
from autoencoders.events import Diagnosed, Finished, Initialised, Warned
from autoencoders.experiment import Experiment
from autoencoders.models import Autoencoder
from autoencoders.objective import Objective
from autoencoders.spec import Spec
from tests.autoencoders import tiny
from tests.autoencoders.diagnostics.nets import clock, net, normal_rows, plan

NETS: list[tuple[dict[str, Any], int | tuple[int, ...]]] = [
    ({"widths": (16, 12), "code": 4}, 36),
    ({"widths": (16, 12), "code": 4, "tied": True}, 36),
    ({"widths": (16, 12), "code": {"name": "variational", "size": 4}}, 36),
    ({"widths": (16, 12), "code": {"name": "top_k", "size": 8, "k": 3}}, 36),
    *(({"widths": (16, 12), "code": 4, "norm": norm}, 36) for norm in ("batch", "layer", "rms", "weight")),
    ({"widths": (16, 12), "code": 4, "norm": "spectral"}, 36),
    ({"name": "dense_residual", "width": 16, "blocks": 3, "code": 4}, 36),
    ({"name": "dense_residual", "width": 16, "blocks": 3, "code": 4, "norm": "batch"}, 36),
    ({"name": "convolutional", "channels": [4, 6], "code": 4}, (12, 12)),
    ({"name": "convolutional_residual", "channels": [4, 6], "code": 4, "norm": "batch"}, (12, 12)),
]  # fmt: skip


def diagnosed(model: Autoencoder, steps: int = 12, **planned: Any) -> Diagnosis:
    rows, held_out = normal_rows(60, model.features), normal_rows(30, model.features, seed=1)
    yardsticks = measure(rows, held_out, rows.mean(0), model.code_size, {"mean": None, "pca": None})
    return diagnose(model, plan(steps, **planned), rows, held_out, yardsticks, clock=clock())


def nothing_but_numbers(value: Any) -> bool:
    json.dumps(value, allow_nan=False)
    return True


@pytest.mark.parametrize(("architecture", "shape"), NETS, ids=lambda value: str(value)[:70])
def test_every_kind_of_net_is_diagnosed_and_left_as_it_was(
    architecture: dict[str, Any], shape: int | tuple[int, ...]
) -> None:
    model = net(shape, "he_normal", **architecture)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    found = diagnosed(model).to_json()
    assert nothing_but_numbers(found)
    assert [layer["name"] for layer in found["layers"]] == [layer.name for layer in model.layers()]
    for layer in found["layers"]:
        assert layer["variance"] > 0
        assert layer["backward"] > 0
        assert layer["predicted"]["variance"] > 0
    assert found["trial"]["steps"] == 12
    assert len(found["jacobian"]["singular_values"]) == model.code_size
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    "objective",
    [
        Objective("mse", {"name": "gaussian", "std": 0.3}),
        Objective("huber", "none", "none", [{"name": "contractive", "rate": 0.1}]),
        Objective("l1", "none", "none", [{"name": "activity_l1", "rate": 0.1}]),
    ],
)
def test_every_objective_can_be_tried(objective: Objective) -> None:
    found = diagnosed(net(36, "he_normal", widths=(16,), code=4, activation="tanh"), objective=objective)
    assert nothing_but_numbers(found.to_json())


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "muon", "rmsprop", "lbfgs"])
def test_every_kind_of_optimizer_can_be_tried(optimizer: str) -> None:
    found = diagnosed(net(36, widths=(16, 12), code=4), steps=10, optimizer=optimizer)
    assert found.trial is not None
    assert found.trial.marks[-1].error < found.trial.marks[0].error


def test_half_precision_weights_are_not_needed_for_a_trial_in_bfloat16() -> None:
    found = diagnosed(net(36, widths=(16, 12), code=4), precision="bfloat16", clip_norm=1.0)
    assert found.trial is not None
    assert found.trial.survived


def test_a_diagnosis_without_time_is_whole_after_ten_steps() -> None:
    model = net(36, widths=(16, 12), code=8)
    rows, held_out = normal_rows(60, 36), normal_rows(30, 36, seed=1)
    yardsticks = measure(rows, held_out, rows.mean(0), 8, {"mean": None, "pca": None})
    late = Deadline.after(0.0, clock())
    found = diagnose(model, plan(40), rows, held_out, yardsticks, clock=clock(), deadline=late).to_json()
    assert (found["trial"]["steps"], found["trial"]["planned"]) == (10, 40)
    assert len(found["jacobian"]["singular_values"]) == 4
    assert nothing_but_numbers(found)
    assert found["verdict"]["evidence"]["trial.steps"] == 10


def test_a_look_has_neither_trial_nor_verdict() -> None:
    model = net(36, widths=(16,), code=4)
    rows = normal_rows(60, 36)
    found = look(model, Objective("mse"), rows, rows, Yardsticks(36.0, 30.0), seed=0, clock=clock()).to_json()
    assert found["trial"] is None
    assert found["verdict"] is None
    with torch.no_grad():
        error = float((model(rows).output - rows).square().sum(1).mean())
    assert found["losses"]["start"] == pytest.approx(error)


def test_the_yardsticks_of_a_sample_are_its_own_mean_error_and_the_whole_s_pca() -> None:
    rows, held_out = normal_rows(500, 6), normal_rows(40, 6, seed=1)
    own = float((held_out - rows.mean(0)).square().sum(1).mean())
    known = measure(rows, held_out, rows.mean(0), 2, {"mean": 6.0, "pca": 4.0})
    assert known.mean == pytest.approx(own, rel=1e-5)
    assert known.pca == pytest.approx(own * 4 / 6, rel=1e-5)
    unknown = measure(rows, held_out, rows.mean(0), 2, {"mean": 6.0, "pca": None})
    assert 0.5 * own < unknown.pca < own
    assert closed_share(known.mean, known) == 0.0
    assert closed_share(known.pca, known) == pytest.approx(1.0)


def job(init: Any, activation: Any = "sigmoid", **rest: Any) -> Spec:
    return Spec.model_validate(
        {
            "architecture": {"name": "dense", "widths": [48, 32], "code": 8, "activation": activation},
            "init": init,
            "objective": {"loss": "mse"},
            "training": {"epochs": 10, "batch_size": 100, "early_stopping": None},
            "schedule": "constant",
            **rest,
        }
    )


def verdict_of(dataset: Dataset, spec: Spec) -> dict[str, Any]:
    experiment = Experiment(spec, dataset, clock=tiny.Clock())
    list(experiment.initialise())
    return experiment.diagnose().to_json()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (job({"name": "normal", "std": 0.1}), job({"name": "uniform", "bound": 0.1})),
        (job("he_normal", "relu"), job("he_normal", {"name": "leaky_relu", "slope": 0.0})),
    ],
)
def test_a_verdict_knows_no_word(one: Spec, other: Spec, digits: Dataset) -> None:
    """Two names for one net: its weights are copied where the words would draw others."""
    first, second = Experiment(one, digits, clock=tiny.Clock()), Experiment(other, digits, clock=tiny.Clock())
    list(first.initialise())
    list(second.initialise())
    second.model.load_state_dict(first.model.state_dict())
    assert first.diagnose().to_json() == second.diagnose().to_json()


def test_weights_a_twentieth_as_large_are_another_net(digits: Dataset) -> None:
    good, shrunk = (Experiment(job("orthogonal", "tanh"), digits, clock=tiny.Clock()) for _ in range(2))
    for made in (good, shrunk):
        list(made.initialise())
    with torch.no_grad():
        for parameter in shrunk.model.parameters():
            parameter.mul_(0.05)
    before, after = good.diagnose(), shrunk.diagnose()
    assert before.verdict is not None
    assert after.verdict is not None
    assert before.verdict.outlook == "learns"
    assert after.verdict.outlook in {"stuck", "slow"}


@pytest.mark.parametrize("corruption", ["none", {"name": "gaussian", "std": 0.1}])
def test_training_is_the_same_to_the_last_bit_whether_it_was_diagnosed_or_not(
    corruption: Any, tmp_path: Path
) -> None:
    write_rows(tiny.rows(200), tmp_path / "dataset")
    dataset = Dataset.open(tmp_path / "dataset")
    spec = Spec.model_validate(
        {
            "architecture": {"name": "dense", "widths": [8, 6], "code": 3, "norm": "batch"},
            "init": "he_normal",
            "objective": {"corruption": corruption},
            "training": {"epochs": 3, "batch_size": 32},
        }
    )
    with_it, without = (
        Experiment(spec, dataset, clock=tiny.Clock(), diagnose=asked) for asked in (True, False)
    )
    state = torch.get_rng_state()
    kinds = [event.type for event in with_it.run()]
    assert torch.equal(state, torch.get_rng_state())
    assert kinds.count("diagnosis") == 1
    assert "diagnosis" not in [event.type for event in without.run()]
    for name, tensor in with_it.model.state_dict().items():
        assert torch.equal(tensor, without.model.state_dict()[name]), name
    assert with_it.metrics == without.metrics


def test_a_job_s_diagnosis_comes_after_the_init_and_before_the_first_step(tmp_path: Path) -> None:
    write_rows(tiny.rows(200), tmp_path / "dataset")
    spec = Spec.model_validate({"code": 3, "init": "he_normal", "training": {"epochs": 1}})
    events = list(Experiment(spec, Dataset.open(tmp_path / "dataset"), clock=tiny.Clock()).run())
    assert isinstance(events[0], Initialised)
    assert isinstance(events[1], Diagnosed)
    assert nothing_but_numbers(events[1].to_json())


@pytest.mark.parametrize(
    "failure", [RuntimeError("no float64 on\nthis device"), MemoryError(), ZeroDivisionError()]
)
def test_a_diagnosis_that_cannot_be_made_is_a_warning_and_the_training_goes_on(
    failure: Exception, tmp_path: Path
) -> None:
    """The model itself fails in double precision, in which a diagnosis looks at held-out rows."""
    write_rows(tiny.rows(200), tmp_path / "dataset")
    spec = Spec.model_validate({"code": 3, "init": "he_normal", "training": {"epochs": 1}})
    failing, whole = (
        Experiment(spec, Dataset.open(tmp_path / "dataset"), clock=tiny.Clock()) for _ in range(2)
    )

    def refuse(_module: Any, read: tuple[torch.Tensor]) -> None:
        if read[0].dtype == torch.float64:
            raise failure

    failing.model.layers()[0].module.register_forward_pre_hook(refuse)
    with pytest.raises(type(failure)):
        failing.diagnose()
    events = list(failing.run())
    warned = events[1]
    assert isinstance(warned, Warned)
    assert type(failure).__name__ in warned.message
    assert "\n" not in warned.message
    assert isinstance(events[-1], Finished)
    list(whole.run())
    for name, tensor in failing.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name
