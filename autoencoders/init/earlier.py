"""The init that goes on from an earlier model's weights, grown or cut where the new model's shapes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import StringConstraints
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.events import Event, Initialised
from autoencoders.init.context import Earlier, InitContext
from autoencoders.init.lift import InitChoice, inits
from autoencoders.init.overlap import Overlap, code_places, overlap, prefix, row_places
from autoencoders.init.plan import InitParts
from autoencoders.init.variance import he_normal
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder

WORD = "model"

Source = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")
]
Location = tuple[str, ...]


def _choices(plan: InitChoice | InitParts) -> Iterator[tuple[Location, InitChoice]]:
    if isinstance(plan, InitChoice):
        yield (), plan
        return
    for part in ("encoder", "code", "decoder"):
        yield (part,), getattr(plan, part)
    for name, choice in plan.layers.items():
        yield ("layers", name), choice


def sources(plan: InitChoice | InitParts) -> list[tuple[Location, str]]:
    """The earlier models that a plan needs: where in the plan each stands, and how it is written there."""
    return [
        ((*place, "source"), str(choice.parameters()["source"]))
        for place, choice in _choices(plan)
        if choice.name == WORD
    ]


def pinned(plan: InitChoice | InitParts, exact: Mapping[str, str]) -> InitChoice | InitParts:
    """The plan with each source replaced by what it means: no alias that moves later changes what it does."""

    def pin(choice: InitChoice) -> InitChoice:
        if choice.name != WORD:
            return choice
        return choice.model_copy(update={"source": exact[choice.parameters()["source"]]})

    if isinstance(plan, InitChoice):
        return pin(plan)
    parts = {part: pin(getattr(plan, part)) for part in ("encoder", "code", "decoder")}
    return plan.model_copy(
        update={**parts, "layers": {name: pin(choice) for name, choice in plan.layers.items()}}
    )


def misfit(source: str, architecture: str, wanted: str) -> str | None:
    """Why an earlier model of one architecture cannot begin a model of another."""
    if architecture == wanted:
        return None
    return f"{source!r} is {architecture}, whose layers are not those of {wanted}"


class _Transfer:
    """One earlier model into one new model.

    Args:
        model: the new one.
        earlier: the one before it.
        context: of the initialisation.
    """

    def __init__(self, model: Autoencoder, earlier: Earlier, context: InitContext) -> None:
        self._model, self._earlier, self._context = model, earlier, context
        self._before = {layer.name: layer for layer in earlier.model.layers()}
        new_shape = None if context.facts is None else context.facts.shape
        self._rows = row_places(new_shape or (model.features,), earlier.shape)

    def layer(self, layer: Layer) -> str:
        """Set a layer; answers what became of it: `kept`, `fitted` or `new`."""
        before = self._before.get(layer.name)
        if before is None or len(before.shape) != len(layer.shape):
            self._begin(layer)
            return "new"
        units, inputs = self._units(layer, before), self._inputs(layer, before)
        if not layer.tied:
            self._weight(layer, before, units, inputs)
        if layer.bias is not None and before.bias is not None:
            layer.bias[units.new] = before.bias.detach()[units.old].to(layer.bias)
        if layer.branch is not None and layer.branch.layers[-1] == layer.name and before.branch is not None:
            scale, own = layer.branch.scale, before.branch.scale.detach()
            both = prefix(len(scale), len(own))
            scale[both.new] = own[both.old].to(scale)
        return "kept" if before.shape == layer.shape else "fitted"

    def _begin(self, layer: Layer) -> None:
        """What the earlier model had not: He's weights; a new branch begins at nothing."""
        if not layer.tied:
            weight = torch.empty(layer.shape)
            he_normal(weight, layer, self._context)
            layer.assign(weight)
        if layer.branch is not None and layer.branch.layers[-1] == layer.name:
            layer.branch.scale.zero_()

    def _weight(self, layer: Layer, before: Layer, units: Overlap, inputs: Overlap) -> None:
        weight = torch.empty(layer.shape)
        he_normal(weight, layer, self._context)
        old = self._old_weight(before).float().cpu()
        # What kept units read from new ones begins at zero, so that they yield what they did.
        weight[units.new] = 0
        kept = torch.zeros(len(units.new), *weight.shape[1:])
        block = old[units.old][:, inputs.old]
        if weight.ndim == 4:
            down, across = (_taps(new, was) for new, was in zip(weight.shape[2:], old.shape[2:], strict=True))
            framed = torch.zeros(*block.shape[:2], *weight.shape[2:])
            window = block[:, :, down.old][:, :, :, across.old]
            framed[:, :, down.new[:, None], across.new] = window
            block = framed
        kept[:, inputs.new] = block
        weight[units.new] = kept
        layer.assign(weight)

    def _old_weight(self, before: Layer) -> Tensor:
        if before.weight is not None:
            return before.weight.detach()
        # A tied layer's is its mirror's, turned round.
        layers = self._earlier.model.layers()
        mirror = layers[len(layers) - 1 - layers.index(before)].weight
        assert mirror is not None, "what a tied layer mirrors has a weight"
        return mirror.detach().transpose(0, 1)

    def _units(self, layer: Layer, before: Layer) -> Overlap:
        if layer.name == "code":
            sizes = (self._model.code_size, self._earlier.model.code_size)
            return code_places(layer.units, before.units, *sizes)
        if layer.is_output and layer.units == self._model.features:
            return self._rows
        return prefix(layer.units, before.units)

    def _inputs(self, layer: Layer, before: Layer) -> Overlap:
        if layer.name == self._model.layers()[0].name and layer.shape[1] == self._model.features:
            return self._rows
        return prefix(layer.shape[1], before.shape[1])

    def norms(self, layers: Sequence[Layer]) -> None:
        """Take over what the norms beside these layers have learnt; new units keep a fresh norm."""
        mine = _beside(self._model, layers)
        theirs = dict(self._earlier.model.state_dict())
        for name, value in mine.items():
            old = theirs.get(name)
            if old is None or old.ndim != value.ndim:
                continue
            block = tuple(slice(0, min(pair)) for pair in zip(value.shape, old.shape, strict=True))
            value[block] = old[block].to(value)


def _taps(new: int, old: int) -> Overlap:
    """Which of a kernel's taps lie over which, where padding is half the kernel's size, rounded down."""
    shift = (new - 1) // 2 - (old - 1) // 2
    return overlap([(tap + shift, tap) for tap in range(old) if 0 <= tap + shift < new])


def _beside(model: Autoencoder, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """What the norms hold that belong to these layers: each to its nearest, the first of equals.

    Nearest is the layer whose path of modules agrees with the norm's the longest.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    places = [(layer, paths[id(layer.module)]) for layer in model.layers()]
    owned = {layer.name for layer in layers}
    scales = {id(layer.branch.scale) for layer in model.layers() if layer.branch is not None}
    found: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) in scales or any(name.startswith(f"{path}.") for _, path in places):
            continue
        nearest = max(places, key=lambda place: _agreement(place[1], name))
        if nearest[0].name in owned:
            found[name] = value.data
    return found


def _agreement(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one.split("."), other.split("."), strict=False):
        if left != right:
            break
        count += 1
    return count


@inits.per_model(
    "model",
    formula=(
        "W = the earlier model's where both have it; what kept units read from new ones 0; "
        "new units N(0, gain^2 / fan_in); new residual branches scaled by 0"
    ),
    reference="growing that keeps the function: Chen, Goodfellow and Shlens, 2016",
)
def model(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, source: Source
) -> Iterator[Event]:
    """The weights of an earlier model of the same architecture: `name`, `name@3` or `name@alias`.

    Layers correspond by name, units by number, the features of rows by their place in them, and the taps of
    kernels by where they lie over the image. Where the new model only has more units, kernels or residual
    blocks, and no norm pools units, it begins as the very function that the earlier one was; where it has
    fewer, the first ones are kept. Norms bring along what they learnt.

    Raises:
        SpecRefused: there are no earlier models here, or it is of another architecture.
    """
    if context.earlier is None:
        raise SpecRefused([(("init", "source"), "there are no earlier models here to take weights from")])
    before = context.earlier(source)
    if why := misfit(source, before.model.architecture, model.architecture):
        raise SpecRefused([(("init", "source"), why)])
    started = context.clock()
    with torch.no_grad():
        transfer = _Transfer(model, before, context)
        fates = {layer.name: transfer.layer(layer) for layer in layers}
        transfer.norms(layers)
    yield Initialised(
        word=WORD,
        part="weights",
        seconds=context.clock() - started,
        detail={"source": source, "layers": fates},
    )
