"""Every architecture, with every code, in a whole experiment: it learns, and its bundle answers alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autoencoders import build, bundle
from autoencoders.data import Dataset, samples, write_rows
from autoencoders.errors import SpecRefused
from autoencoders.events import Checkpoint, Epoch
from autoencoders.experiment import Experiment
from autoencoders.models import architectures, codes
from autoencoders.objective import augmentations, corruptions, penalties
from autoencoders.optim.muon import split_matrices
from autoencoders.spec import Spec
from autoencoders.training import TrainingState

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dense": {"widths": (48, 24)},
    "dense_residual": {"width": 32, "blocks": 2},
    "convolutional": {"channels": (8, 16)},
    "convolutional_residual": {"channels": (8, 16)},
}
CODES: dict[str, dict[str, Any]] = {
    "plain": {"size": 6},
    "variational": {"size": 6, "beta": 0.05},
    "top_k": {"size": 16, "k": 6},
}
PENALTIES: dict[str, dict[str, Any]] = {
    "weight_decay": {"rate": 1e-4},
    "sparse_kl": {"target": 0.3, "rate": 0.01},
    "activity_l1": {"rate": 1e-3},
    "contractive": {"rate": 1e-3},
}
CORRUPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "gaussian": {"std": 0.1},
    "masking": {"share": 0.2},
    "salt_and_pepper": {"share": 0.1},
}
every = pytest.mark.parametrize("word", architectures.names())
every_code = pytest.mark.parametrize("code", codes.names())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits") / "dataset"
    write_rows(samples.call(samples.choose("digits")).rows[:600], folder)
    return Dataset.open(folder)


def spec(word: str, code: str = "plain", **parts: Any) -> Spec:
    architecture = {"name": word, **ARCHITECTURES[word], "code": {"name": code, **CODES[code]}}
    training = {"epochs": 12, "batch_size": 30, **parts.pop("training", {})}
    optimizer = {"name": "adam", "learning_rate": 0.005}
    return Spec.model_validate(
        {
            "architecture": architecture,
            "init": "he_normal",
            "optimizer": optimizer,
            "training": training,
            **parts,
        }
    )


def experiment(read: Spec, dataset: Dataset, **options: Any) -> Experiment:
    return Experiment(read, dataset, diagnose=False, **options)


def test_every_word_is_under_law() -> None:
    assert set(ARCHITECTURES) == set(architectures.names())
    assert set(CODES) == set(codes.names())
    assert set(PENALTIES) == set(penalties.names())
    assert set(CORRUPTIONS) == set(corruptions.names())


@every
@every_code
def test_it_learns_and_its_bundle_answers_alike(
    word: str, code: str, digits: Dataset, tmp_path: Path
) -> None:
    trial = experiment(spec(word, code), digits)
    errors = [event.error for event in trial.run() if isinstance(event, Epoch)]
    assert errors[-1] < 0.9 * errors[0]
    mean = trial.baselines["mean"]
    assert mean is not None
    assert errors[-1] < mean
    trial.save(tmp_path / "model")
    served, rows = bundle.load(tmp_path / "model"), digits.held_out[:20]
    with torch.inference_mode():
        z = trial.model.eval().encode(torch.from_numpy(np.array(rows)))
        x = trial.model.decode(z)
    np.testing.assert_allclose(served.encode(rows), z.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(served.reconstruct(rows), x.numpy().reshape(-1, 8, 8), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "code"), [("convolutional", "variational"), ("convolutional_residual", "top_k")]
)
def test_a_training_taken_up_again_is_the_same_to_the_last_bit(word: str, code: str, digits: Dataset) -> None:
    def states(resume: TrainingState | None = None) -> list[TrainingState]:
        trial = experiment(spec(word, code, training={"epochs": 3}), digits, checkpoint_seconds=0.0)
        return [event.state for event in trial.run(resume) if isinstance(event, Checkpoint)]

    whole = states()
    again = states(whole[0])
    assert whole[-1].progress.step == again[-1].progress.step
    for name, value in whole[-1].model.items():
        assert torch.equal(value, again[-1].model[name]), name


@every
@every_code
@pytest.mark.parametrize("penalty", penalties.names())
def test_every_penalty_goes_with_every_architecture_and_code_or_is_refused(
    word: str, code: str, penalty: str, digits: Dataset
) -> None:
    read = spec(word, code, objective={"penalties": [{"name": penalty, **PENALTIES[penalty]}]})
    read = read.resolve(digits.facts)
    if code == "top_k" and penalty == "sparse_kl":
        with pytest.raises(SpecRefused, match="zeros of a top_k code") as refused:
            read.check(digits.facts)
        assert refused.value.problems[0][0] == ("objective", "penalties", "0")
        return
    read.check(digits.facts)
    assert gradients_are_finite(read, digits)


@every
@pytest.mark.parametrize("corruption", corruptions.names())
@pytest.mark.parametrize("augmentation", augmentations.names())
def test_every_corruption_and_augmentation_goes_with_every_architecture(
    word: str, corruption: str, augmentation: str, digits: Dataset
) -> None:
    objective = {
        "corruption": {"name": corruption, **CORRUPTIONS[corruption]},
        "augmentation": augmentation,
    }
    read = spec(word, objective=objective).resolve(digits.facts)
    read.check(digits.facts)
    assert gradients_are_finite(read, digits)


def gradients_are_finite(read: Spec, digits: Dataset) -> bool:
    trial = experiment(read, digits)
    list(trial.initialise())
    objective = build.objective(trial.spec, digits.facts, digits.moments.statistics)
    stream = torch.Generator().manual_seed(1)
    objective(trial.model, torch.from_numpy(np.array(digits.training[:16])), stream).total.backward()  # type: ignore[no-untyped-call]
    return all(
        part.grad is not None and bool(part.grad.isfinite().all()) for part in trial.model.parameters()
    )


@every
def test_muon_takes_the_matrices_between_hidden_layers_of_every_architecture(
    word: str, digits: Dataset
) -> None:
    for norm in ("none", "weight"):
        chosen = architectures.choose(word, **ARCHITECTURES[word], code=6, norm=norm)
        model = architectures.call(chosen, digits.facts.shape)
        taken = {id(parameter) for _, parameter in split_matrices(list(model.named_parameters()))[0]}
        inner = [layer for layer in model.layers()[1:-1] if len(layer.shape) == 2]
        assert len(taken) == len(inner)
        for layer in inner:
            own = dict(layer.module.named_parameters())
            assert id(own.get("weight", own.get("parametrizations.weight.original1"))) in taken


@every
def test_the_estimate_counts_what_every_pixel_holds(word: str, digits: Dataset) -> None:
    read = spec(word).resolve(digits.facts)
    longer = read.model_copy(update={"training": read.training.model_copy(update={"batch_size": 100})})
    model = build.model(read, digits.facts)
    held: list[int] = []
    for layer in model.layers():
        layer.module.register_forward_hook(lambda _module, _arguments, out: held.append(out.numel()))
    with torch.no_grad():
        model(torch.zeros(1, 64))
    few, many = (build.estimate(one, digits.facts, window_bytes=0).memory_bytes for one in (read, longer))
    assert many - few == 3 * 4 * 70 * sum(held)


@pytest.mark.parametrize("init", ["rbm_stack", "stacked_denoising"])
def test_the_estimate_counts_the_rows_that_a_pretraining_holds(init: str, digits: Dataset) -> None:
    architecture = {"name": "dense", "widths": [300], "code": 8, "activation": "sigmoid"}
    plain, pretrained, small, coder = (
        Spec.model_validate({"architecture": architecture, "init": one}).resolve(digits.facts)
        for one in ("he_normal", init, init, {"code": init})
    )

    def needed(one: Spec, **limits: Any) -> int:
        return build.estimate(one, digits.facts, **{"window_bytes": 0, **limits}).memory_bytes

    rows = digits.facts.training_rows
    assert needed(pretrained) - needed(plain) == 4 * rows * (64 + 300)
    assert needed(small, most_rows=100) - needed(plain) == 4 * 100 * (64 + 300)
    assert needed(coder) == needed(pretrained)
    # Rows in training and rows in pretraining are not held at once.
    assert needed(pretrained, window_bytes=1 << 30) - needed(plain, window_bytes=1 << 30) == 4 * rows * 300
    many = digits.facts.model_copy(update={"training_rows": 10**7})
    whole = build.estimate(pretrained, many, window_bytes=0).memory_bytes
    assert whole - needed(plain) == 512 * 1024**2


@every
def test_the_estimate_counts_the_products_that_are_done(word: str, digits: Dataset) -> None:
    read = spec(word).resolve(digits.facts)
    estimated = build.estimate(read, digits.facts, window_bytes=0).flops
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        build.model(read, digits.facts)(torch.zeros(1, 64))
    # Twice as many operations backward as forward; torch counts the edges' products as if they were done.
    forward = estimated / (3 * digits.facts.training_rows * read.training.epochs)
    assert forward == pytest.approx(counted.get_total_flops(), rel=0.01)
