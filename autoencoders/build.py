"""From a resolved spec to the live objects it describes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from autoencoders.data.dataset import Dataset, Facts
from autoencoders.data.moments import FeatureStatistics
from autoencoders.data.scaling import Affine, fit_scaling, scaled_range
from autoencoders.models import Autoencoder, architectures
from autoencoders.objective import Objective
from autoencoders.optim import Schedule, optimizers, schedules
from autoencoders.spec import Spec

FLOAT32_BYTES = 4


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


def optimizer(spec: Spec, module: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over the module's trainable parameters."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    made: torch.optim.Optimizer = optimizers.call(spec.optimizer, named)
    return made


def schedule(spec: Spec, steps: int) -> Schedule:
    """The learning rate's factor as a function of the step."""
    made: Schedule = schedules.call(spec.schedule, steps)
    return made


def affine(spec: Spec, dataset: Dataset) -> Affine:
    """The scaling fitted to the dataset's training rows."""
    assert spec.scaling is not None, "a resolved spec names its scaling"
    return fit_scaling(spec.scaling, dataset.moments.statistics, dataset.facts)


@dataclass(frozen=True)
class Estimate:
    """What a training will need.

    Attributes:
        parameters: trainable numbers in the model.
        memory_bytes: weights, gradients, optimizer's state, best epoch's copy, a window of rows, one batch.
        flops: floating-point operations of the matrix products, forward and backward, over all epochs.
    """

    parameters: int
    memory_bytes: int
    flops: float


def estimate(spec: Spec, facts: Facts, *, window_bytes: int) -> Estimate:
    """Size a training without building it: the model lives on torch's meta device, which holds no numbers."""
    with torch.device("meta"):
        built = model(spec, facts)
        state_per_parameter = 2 if optimizers[spec.optimizer.name].traits.get("moments", 2) else 0
    parameters = sum(parameter.numel() for parameter in built.parameters())
    layers = built.layers()
    hidden = sum(layer.outputs for layer in layers)
    rows = min(spec.training.batch_size, facts.training_rows)
    window = min(window_bytes, facts.training_rows * facts.features * FLOAT32_BYTES)
    # Weights, gradients, best epoch's copy and a checkpoint on its way out, besides the optimizer's moments.
    memory = (
        FLOAT32_BYTES * parameters * (4 + state_per_parameter) + window + 3 * FLOAT32_BYTES * rows * hidden
    )
    products = sum(layer.products for layer in layers)
    return Estimate(parameters, memory, 6.0 * products * facts.training_rows * spec.training.epochs)
