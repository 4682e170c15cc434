"""The init that learns one scale for each weight, such that the first step of training helps most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from autoencoders.catalog import Choice
from autoencoders.events import Event
from autoencoders.init.bare import bare_twin, scalable, squared_error
from autoencoders.init.context import InitContext
from autoencoders.init.flow import calibration_rows
from autoencoders.init.gradient_balance import Rounds, draw_he
from autoencoders.init.lift import inits
from autoencoders.layers.layer import Layer
from autoencoders.models.autoencoder import Autoencoder
from autoencoders.optim import optimizers

ROWS = 2048
BATCH = 64
SCALE_RATE = 0.04
SMALLEST = 0.01


@dataclass(frozen=True)
class FirstStep:
    """The first step of an optimizer, `W - rate A[g]`.

    Attributes:
        kind: `entrywise`, `A[g] = sign g`, as Adam's is; `gradient`, `A[g] = g`.
        rate: the learning rate.
    """

    kind: Literal["entrywise", "gradient"]
    rate: float

    @classmethod
    def of(cls, choice: Choice | None) -> FirstStep:
        """That of the job's optimizer; Adam's at .001 for those whose step is neither."""
        kind = "entrywise" if choice is None else optimizers[choice.name].traits.get("steps")
        given = {} if choice is None else choice.parameters()
        if kind == "gradient":
            return cls("gradient", float(given["learning_rate"]))
        return cls("entrywise", float(given.get("learning_rate", 1e-3)) if kind == "entrywise" else 1e-3)

    def promise(self, gradients: Sequence[Tensor]) -> Tensor:
        """By how much the step lowers the loss to first order: the rate times the norm that belongs to it."""
        if self.kind == "entrywise":
            sums = [gradient.abs().sum() for gradient in gradients]
        else:
            sums = [gradient.square().sum() for gradient in gradients]
        return self.rate * torch.stack(sums).sum()

    def after(self, value: Tensor, gradient: Tensor) -> Tensor:
        """The parameter after the step."""
        return value - self.rate * (gradient.detach().sign() if self.kind == "entrywise" else gradient)


class ScaledTwin:
    """A model's twin whose weights carry scales that can be learnt.

    Args:
        model: the model; it is only read.
        names: the layers whose weights are scaled.
    """

    def __init__(self, model: Autoencoder, names: Sequence[str]) -> None:
        self.twin = bare_twin(model)
        self.values = {name: value.detach() for name, value in self.twin.named_parameters()}
        paths = {id(module): path for path, module in self.twin.named_modules()}
        owned = [layer for layer in self.twin.layers() if layer.name in names]
        self.places = {layer.name: f"{paths[id(layer.module)]}.weight" for layer in owned}
        sample = next(iter(self.values.values()))
        self.scales = torch.ones(len(names), dtype=sample.dtype, device=sample.device, requires_grad=True)

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter, the scaled weights as functions of the scales."""
        made = {name: value.requires_grad_() for name, value in self.values.items()}
        for place, scale in zip(self.places.values(), self.scales.unbind(), strict=True):
            made[place] = self.values[place].detach() * scale
        return made

    def loss(self, parameters: Mapping[str, Tensor], rows: Tensor, seed: int) -> Tensor:
        """The squared error with these parameters; codes that draw, draw the same for one seed."""
        noise = torch.Generator(rows.device).manual_seed(seed)
        return squared_error(
            lambda x, generator: functional_call(self.twin, dict(parameters), (x,), {"generator": generator}),
            rows,
            noise,
        )

    def objective(self, rows: Tensor, fresh: Tensor, step: FirstStep, seed: int) -> Tensor:
        """What the scales shall lower: the loss after a step, or the norm where that is beyond its bound."""
        parameters = self.parameters()
        values = list(parameters.values())
        loss = self.loss(parameters, rows, seed)
        # A sign has no slope: then the gradient's own gradient is needed only for its norm.
        twice = step.kind == "gradient"
        gradients = torch.autograd.grad(
            loss, values, create_graph=twice, retain_graph=True, materialize_grads=True
        )
        promise = step.promise(gradients)
        # A step cannot take away more than there is: a larger promise says that the rate is too large.
        if float(promise.detach()) > float(loss.detach()):
            if not twice:
                gradients = torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)
            return step.promise(gradients) / loss.detach()
        moved = [step.after(value, gradient) for value, gradient in zip(values, gradients, strict=True)]
        return self.loss(dict(zip(parameters, moved, strict=True)), fresh, seed) / loss.detach()


def _batches(rows: Tensor, rounds: int, context: InitContext) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of batches, the second half as the first and half others, in an order of their own."""
    size = min(BATCH, len(rows))
    stream = context.stream("gradinit", "order")
    for _ in range(rounds):
        drawn = torch.randperm(len(rows), generator=stream)[: size + size // 2]
        first, second = drawn[:size], drawn[len(drawn) - size :]
        yield rows[first.to(rows.device)], rows[second.to(rows.device)]


@inits.per_model(
    "gradinit",
    formula=(
        "W = s_l N(0, gain^2 / fan_in); s lowers L(W - rate A[g]), one step of the job's optimizer, or the "
        "norm of g where rate <A[g], g> > L"
    ),
    reference="Zhu, Ni, Xu, Kong, Huang and Goldstein, 2021",
    looks_at_others=True,
)
def gradinit(
    model: Autoencoder, layers: Sequence[Layer], context: InitContext, *, rounds: Rounds = 40
) -> Iterator[Event]:
    """He's weights with a learnt scale for each layer, such that the job's first step lowers the loss most.

    L is the squared error; `A[g]` is the gradient's sign for Adam and its kin, the gradient itself for SGD.
    Each of the rounds looks at 64 rows, and at half of them again.
    """
    draw_he(layers, context)
    names = scalable(layers)
    rows = calibration_rows(model, context, ROWS)
    step = FirstStep.of(context.optimizer)
    if names:
        with torch.enable_grad():
            scaled = ScaledTwin(model, names)
            learner = torch.optim.Adam([scaled.scales], lr=SCALE_RATE)
            for number, (batch, fresh) in enumerate(_batches(rows, rounds, context)):
                objective = scaled.objective(batch, fresh, step, context.seed + number)
                if not bool(objective.isfinite()):
                    break
                (scaled.scales.grad,) = torch.autograd.grad(objective, [scaled.scales])
                learner.step()
                with torch.no_grad():
                    scaled.scales.clamp_(min=SMALLEST)
        for layer in layers:
            if layer.weight is not None and layer.name in names:
                place = list(scaled.places).index(layer.name)
                layer.assign(layer.weight.detach() * scaled.scales.detach()[place])
    yield from ()
