"""The language of a job: the whole description of a training, made of words from the catalogs.

A spec is read in three steps. `Spec.model_validate` knows the words; `resolve` fills in every default that
depends on the data; `check` refuses what cannot be built for them, naming the field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from autoencoders.catalog import Catalog, Choice
from autoencoders.data.manifest import Facts
from autoencoders.data.samples import samples
from autoencoders.data.scaling import scaled_range, scalings
from autoencoders.errors import SpecRefused
from autoencoders.init import InitPlan, inits
from autoencoders.layers.activations import activations
from autoencoders.layers.norms import norms
from autoencoders.models import architectures, codes
from autoencoders.objective import augmentations, corruptions, losses, penalties
from autoencoders.optim import optimizers, schedules

Problem = tuple[tuple[str, ...], str]

FAMILIES: dict[str, Catalog[Any]] = {
    catalog.family: catalog
    for catalog in (
        *(inits, architectures, codes, activations, norms, losses, corruptions, augmentations, penalties),
        *(optimizers, schedules, scalings, samples),
    )
}
"""Every catalog of the house by its plural, as `GET /v1/catalog/{family}` names it."""


# Under a name of its own: inside of the class, `penalties` is the field's default.
Penalty: TypeAlias = Annotated[Choice, penalties]


class Part(BaseModel):
    """Any part of a spec: frozen, and strict about what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class ObjectivePart(Part):
    """What is minimised: a loss between reconstruction and target, and what is done to either."""

    loss: Annotated[Choice, losses] | None = Field(
        None,
        description="Unset: `bce` where the output is a sigmoid and scaled rows lie in [0, 1], else `mse`.",
    )
    corruption: Annotated[Choice, corruptions] = "none"  # type: ignore[assignment]  # validated to a choice
    augmentation: Annotated[Choice, augmentations] = "none"  # type: ignore[assignment]  # validated to a choice
    penalties: tuple[Penalty, ...] = ()


class EarlyStopping(Part):
    """End when the held-out error has not improved for so many epochs."""

    patience: PositiveInt = 10


class TrainingPart(Part):
    """How long, in what portions, from which seed and at which precision."""

    epochs: PositiveInt = 50
    batch_size: PositiveInt = 256
    seed: NonNegativeInt = 0
    early_stopping: EarlyStopping | None = EarlyStopping()
    max_seconds: PositiveFloat | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    clip_norm: PositiveFloat | None = None


class Spec(Part):
    """The whole description of a training; `{"code": 8}` is the smallest one."""

    architecture: Annotated[Choice, architectures]
    init: InitPlan = "auto"  # type: ignore[assignment]  # validated to a choice
    objective: ObjectivePart = ObjectivePart()
    optimizer: Annotated[Choice, optimizers] = {"name": "adam", "learning_rate": 0.001}  # type: ignore[assignment]
    schedule: Annotated[Choice, schedules] = {"name": "cosine", "warmup": 0.02}  # type: ignore[assignment]
    scaling: Annotated[Choice, scalings] | None = Field(
        None,
        description="Unset: `unit` for uint8 rows, `none` for floats that lie in [0, 1], else `standard`.",
    )
    training: TrainingPart = TrainingPart()
    device: Literal["auto", "cpu", "gpu"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _code_is_short_for_architecture_code(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        architecture = data.get("architecture", "dense")
        if isinstance(architecture, str):
            architecture = {"name": architecture}
        if "code" in data:
            code = data.pop("code")
            if isinstance(architecture, dict):
                if architecture.get("code", code) != code:
                    raise ValueError(
                        "`code` is short for `architecture.code`: give one of them, or the same in both"
                    )
                architecture = {**architecture, "code": code}
        return {**data, "architecture": architecture}

    def resolve(self, facts: Facts) -> Self:
        """The same spec with every default filled in that depends on the data."""
        scaling = self.scaling or scalings.choose(_usual_scaling(facts))
        low, high = scaled_range(scaling, facts)
        in_unit_interval = low >= 0.0 and high <= 1.0
        architecture = _complete_architecture(self.architecture, facts, in_unit_interval)
        loss = self.objective.loss
        if loss is None:
            bounded = architecture.parameters().get("output") == "sigmoid" and in_unit_interval
            loss = losses.choose("bce" if bounded else "mse")
        objective = self.objective.model_copy(update={"loss": loss})
        return self.model_copy(
            update={"scaling": scaling, "architecture": architecture, "objective": objective}
        )

    def check(self, facts: Facts) -> None:
        """Refuse what cannot be built for this dataset.

        Raises:
            SpecRefused: with every problem found, each with the location of its field.
        """
        problems = [
            *_loss_problems(self, facts),
            *_augmentation_problems(self, facts),
            *_penalty_problems(self),
            *_clipping_problems(self),
            *_model_problems(self, facts),
        ]
        if problems:
            raise SpecRefused(problems)


def _usual_scaling(facts: Facts) -> str:
    if facts.dtype == "uint8":
        return "unit"
    return "none" if facts.minimum >= 0.0 and facts.maximum <= 1.0 else "standard"


def _complete_architecture(choice: Choice, facts: Facts, in_unit_interval: bool) -> Choice:
    """Ask the architecture's word for the parameters that it would choose for these rows."""
    entry = architectures[choice.name]
    defaults = entry.traits["defaults"]
    given = choice.parameters()
    if "output" in given and given["output"] is None:
        given["output"] = "sigmoid" if in_unit_interval else "linear"
    return entry.schema.model_validate({"name": choice.name, **given, **defaults(facts.shape, **given)})


def _loss_problems(spec: Spec, facts: Facts) -> list[Problem]:
    assert spec.objective.loss is not None, "check() follows resolve()"
    assert spec.scaling is not None, "check() follows resolve()"
    if spec.objective.loss.name != "bce":
        return []
    where = ("objective", "loss")
    problems: list[Problem] = []
    if spec.architecture.parameters().get("output") != "sigmoid":
        problems.append((where, "bce needs architecture.output to be 'sigmoid'"))
    low, high = scaled_range(spec.scaling, facts)
    if low < 0.0 or high > 1.0:
        problems.append(
            (
                where,
                f"bce needs rows in [0, 1]; scaled by {spec.scaling.name!r} these lie in [{low:g}, {high:g}]",
            )
        )
    return problems


def _augmentation_problems(spec: Spec, facts: Facts) -> list[Problem]:
    augmentation = spec.objective.augmentation
    if augmentation.name == "none" or facts.is_image:
        return []
    return [
        (
            ("objective", "augmentation"),
            f"{augmentation.name!r} needs rows that are images; these have shape {facts.shape}",
        )
    ]


def _penalty_problems(spec: Spec) -> list[Problem]:
    code = spec.architecture.parameters()["code"].name
    reasons = [penalties[penalty.name].traits.get("unsuited", {}) for penalty in spec.objective.penalties]
    return [
        (("objective", "penalties", str(place)), f"{spec.objective.penalties[place].name!r} {reason[code]}")
        for place, reason in enumerate(reasons)
        if code in reason
    ]


def _clipping_problems(spec: Spec) -> list[Problem]:
    if spec.training.clip_norm is None or not optimizers[spec.optimizer.name].traits.get("closure"):
        return []
    return [
        (
            ("training", "clip_norm"),
            f"{spec.optimizer.name!r} searches along a line, for which a gradient must be that of the loss: "
            "it cannot be clipped",
        )
    ]


def _model_problems(spec: Spec, facts: Facts) -> list[Problem]:
    """Build the model without memory: what its words refuse is refused here, before anything is queued."""
    try:
        with torch.device("meta"):
            model = architectures.call(spec.architecture, facts.shape)
    except SpecRefused as refusal:
        return list(refusal.problems)
    return [(("init", *loc), message) for loc, message in spec.init.problems(model)]
