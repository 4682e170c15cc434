"""From a resolved spec to the live objects it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from autoencoders.data.dataset import Dataset, Facts
from autoencoders.data.moments import FeatureStatistics
from autoencoders.data.scaling import Affine, fit_scaling, scaled_range
from autoencoders.diagnostics import Plan
from autoencoders.init.plan import assignments
from autoencoders.models import Autoencoder, architectures
from autoencoders.objective import Objective
from autoencoders.optim import NO_FACTORS, Schedule, numbers_kept, optimizers, schedules
from autoencoders.spec import Spec
from autoencoders.training.batches import steps_per_epoch

FLOAT32_BYTES = 4
TRIAL_OPERATIONS = 1.5e12
"""What a diagnosis may spend on its trial, and again on a rehearsal: about half a minute of one core each."""
REHEARSED_SHARE = 0.5
"""The most that a rehearsal may cost of what the job itself does."""
UPDATE_OPERATIONS = 100.0
"""What an optimizer's step costs for each parameter, in operations of matrix products that take as long."""
CLOSURES = 20
"""How often an optimizer that searches along a line looks at a batch, at the most."""


def model(spec: Spec, facts: Facts) -> Autoencoder:
    """The architecture for rows of this shape, its weights not yet initialised.

    Raises:
        SpecRefused: the words do not fit together, or do not fit these rows.
    """
    built: Autoencoder = architectures.call(spec.architecture, facts.shape)
    return built


def objective(spec: Spec, facts: Facts, statistics: FeatureStatistics | None = None) -> Objective:
    """The loss, corruption, augmentation and penalties as one thing to minimise.

    `statistics` of the training rows bound what a corruption may set where the scaling is fitted to them.
    """
    part = spec.objective
    assert part.loss is not None, "a resolved spec names its loss"
    assert spec.scaling is not None, "a resolved spec names its scaling"
    return Objective(
        loss=part.loss,
        corruption=part.corruption,
        augmentation=part.augmentation,
        penalties=part.penalties,
        shape=facts.shape,
        bounds=scaled_range(spec.scaling, facts, statistics),
    )


def optimizer(
    spec: Spec, module: nn.Module, factors: Mapping[str, float] = NO_FACTORS
) -> torch.optim.Optimizer:
    """The optimizer over the module's trainable parameters, each at its own factor of the learning rate."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    made: torch.optim.Optimizer = optimizers.call(spec.optimizer, named, factors)
    return made


def schedule(spec: Spec, steps: int) -> Schedule:
    """The learning rate's factor as a function of the step."""
    made: Schedule = schedules.call(spec.schedule, steps)
    return made


def affine(spec: Spec, dataset: Dataset) -> Affine:
    """The scaling fitted to the dataset's training rows."""
    assert spec.scaling is not None, "a resolved spec names its scaling"
    return fit_scaling(spec.scaling, dataset.moments.statistics, dataset.facts)


def plan(
    spec: Spec,
    dataset: Dataset,
    built: Autoencoder,
    factors: Mapping[str, float] = NO_FACTORS,
    *,
    steps: int | None = None,
    rehearse: bool = False,
) -> Plan:
    """How the spec will train this model on this dataset, as a diagnosis needs to know it.

    `steps` are those of the schedule where its epochs do not say them; `rehearse` is whether the way to the
    horizon is walked, if it is affordable.
    """
    training = spec.training
    if steps is None:
        steps = training.epochs * steps_per_epoch(len(dataset.training), training.batch_size)
    looks = CLOSURES if optimizers[spec.optimizer.name].traits.get("closure") else 1
    a_row = 6.0 * looks * sum(layer.products for layer in built.layers())
    update = UPDATE_OPERATIONS * sum(parameter.numel() for parameter in built.parameters())
    made = Plan(
        objective=objective(spec, dataset.facts, dataset.moments.statistics),
        optimizer=lambda module: optimizer(spec, module, factors),
        schedule=schedule(spec, steps),
        steps=steps,
        batch_size=training.batch_size,
        seed=training.seed,
        precision=training.precision,
        clip_norm=training.clip_norm,
        affordable=int(TRIAL_OPERATIONS / (training.batch_size * a_row)),
    )
    rehearsal = made.horizon * (made.rehearsed_rows * a_row + update)
    bound = min(TRIAL_OPERATIONS, REHEARSED_SHARE * steps * (made.batch_size * a_row + update))
    return replace(made, rehearses=rehearse and rehearsal <= bound)


@dataclass(frozen=True)
class Estimate:
    """What a training will need.

    Attributes:
        parameters: trainable numbers in the model.
        memory_bytes: weights, gradients, optimizer's state, best epoch's copy, a window of rows, one batch;
            before the first step, what a pretraining holds of the rows in the window's place.
        flops: floating-point operations of the matrix products, forward and backward, over all epochs and
            the trials of candidates by which an init is chosen.
    """

    parameters: int
    memory_bytes: int
    flops: float


def estimate(spec: Spec, facts: Facts, *, window_bytes: int, most_rows: int | None = None) -> Estimate:
    """Size a training without building it: the model lives on torch's meta device, which holds no numbers.

    Args:
        spec: resolved.
        facts: of the dataset.
        window_bytes: the most that is held of the rows in training.
        most_rows: the most that an initialisation may look at; None for all.
    """
    with torch.device("meta"):
        built = model(spec, facts)
    state_per_parameter = numbers_kept(spec.optimizer)
    parameters = sum(parameter.numel() for parameter in built.parameters())
    layers = built.layers()
    hidden = sum(layer.outputs for layer in layers)
    rows = min(spec.training.batch_size, facts.training_rows)
    looked_at = min(facts.training_rows, most_rows or facts.training_rows)
    held = sum(
        choice.held_bytes(built, owned, looked_at) for _, choice, owned in assignments(spec.init, layers)
    )
    window = min(window_bytes, facts.training_rows * facts.features * FLOAT32_BYTES)
    # Of each number that a layer yields: before and after the activation, a gradient; two more with a norm.
    copies = 5 if any(layer.normed for layer in layers) else 3
    # Weights, gradients, best epoch's copy and a checkpoint on its way out, besides the optimizer's moments.
    numbers = parameters * (4 + state_per_parameter) + copies * rows * hidden
    memory = FLOAT32_BYTES * numbers + max(window, held)
    products, trained = sum(layer.products for layer in layers), facts.training_rows * spec.training.epochs
    steps = spec.training.epochs * steps_per_epoch(facts.training_rows, spec.training.batch_size)
    tried = rows * sum(choice.trial_steps(steps) for _, choice, _ in assignments(spec.init, layers))
    return Estimate(parameters, memory, 6.0 * products * (trained + tried))
