"""A spec's field `init`: one choice for the whole model, or one for each part and for layers by name."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from autoencoders.init.lift import InitChoice, Problem, inits
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

_Choice: TypeAlias = Annotated[InitChoice, inits]


PART_INIT = "he_normal"
"""The init of a part that a plan leaves out: `auto`, that of a whole model, cannot be chosen for a part."""


def _default() -> InitChoice:
    return inits.choose(PART_INIT)


class InitParts(BaseModel):
    """An init for each part of the model, and for single layers by name; what is left out is `he_normal`."""

    # Its schema waits for its first use, when every word is known.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    encoder: _Choice = Field(default_factory=_default)
    code: _Choice = Field(default_factory=_default)
    decoder: _Choice = Field(default_factory=_default)
    layers: Annotated[dict[str, _Choice], Field(max_length=256)] = Field(default_factory=dict)

    def problems(self, model: Autoencoder) -> list[Problem]:
        """What keeps it from initialising this model: locations inside of the plan, and messages."""
        layers = model.layers()
        names = [layer.name for layer in layers]
        unknown = [
            (("layers", name), f"there is no layer {name!r}; there are {', '.join(names)}")
            for name in self.layers
            if name not in names
        ]
        unsuited = [
            ((*place, *location), message)
            for place, choice, owned in self.places(layers)
            if owned
            for location, message in choice.refusals(model, owned)
        ]
        return [*unknown, *unsuited]

    def places(self, layers: Sequence[Layer]) -> Iterator[tuple[tuple[str, ...], InitChoice, list[Layer]]]:
        """Where each choice stands in the plan, and the layers that it owns."""
        for part, choice in (("encoder", self.encoder), ("code", self.code), ("decoder", self.decoder)):
            owned = [layer for layer in layers if layer.part == part and layer.name not in self.layers]
            yield (part,), choice, owned
        for layer in layers:
            if layer.name in self.layers:
                yield ("layers", layer.name), self.layers[layer.name], [layer]


@functools.cache
def _one() -> TypeAdapter[InitChoice]:
    return TypeAdapter(_Choice)


def read_plan(value: Any) -> InitChoice | InitParts:
    """The plan for a word, a mapping, or a plan.

    Raises:
        pydantic.ValidationError: with the location inside of the plan.
    """
    if isinstance(value, InitParts):
        return value
    # Anything else is held to be a choice, for whose mistakes the catalog has the better words.
    if isinstance(value, Mapping) and "name" not in value and InitParts.model_fields.keys() & value.keys():
        return InitParts.model_validate(value)
    return _one().validate_python(value)


class _PlanSchema:
    """Validates by `read_plan`, whose errors have no tag of a union in their locations."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        forms = core_schema.union_schema(
            [handler.generate_schema(_Choice), handler.generate_schema(InitParts)]
        )
        return core_schema.no_info_wrap_validator_function(lambda value, _inner: read_plan(value), forms)


InitPlan: TypeAlias = Annotated[InitChoice | InitParts, _PlanSchema()]


def assignments(
    plan: InitChoice | InitParts, layers: Sequence[Layer]
) -> Iterator[tuple[str, InitChoice, list[Layer]]]:
    """Who initialises what: a label (`model`, a part or a layer), the choice, the layers that it owns."""
    if isinstance(plan, InitChoice):
        yield "model", plan, list(layers)
        return
    for place, choice, owned in plan.places(layers):
        if owned:
            yield place[-1], choice, owned


def is_open(plan: InitChoice | InitParts) -> bool:
    """Whether the init itself is still to be chosen, by a word that another init takes the place of."""
    return isinstance(plan, InitChoice) and bool(inits[plan.name].traits.get("settled"))


def passes(plan: InitChoice | InitParts, model: Autoencoder, rows: int) -> float:
    """How often the pretrainings of a plan pass over so many training rows, before the first step."""
    return sum(choice.passes(model, owned, rows) for _, choice, owned in assignments(plan, model.layers()))


def pretrains(plan: InitChoice | InitParts) -> bool:
    """Whether any word of a plan is a pretraining; `passes` says how long it is."""
    parts = [plan] if isinstance(plan, InitChoice) else [plan.encoder, plan.code, plan.decoder]
    single = [] if isinstance(plan, InitChoice) else plan.layers.values()
    return any("passes" in inits[choice.name].traits for choice in (*parts, *single))
