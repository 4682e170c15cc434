"""The activations: a catalog whose words yield modules that know their own exact gains."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from autoencoders.catalog import Catalog, Choice
from autoencoders.layers.meanfield import Elementwise, Moments, moments, tailored_slope


class Activation(nn.Module):
    """An elementwise function with its Gaussian integrals.

    Args:
        word: its name in the catalog.
        function: what it does to each number.
        label: how it prints.
    """

    def __init__(self, word: str, function: Elementwise, label: str = "") -> None:
        super().__init__()
        self.word = word
        self.function = function
        self.label = label or word

    def forward(self, x: Tensor) -> Tensor:
        """The function of each number."""
        return self.function(x)

    @functools.cached_property
    def moments(self) -> Moments:
        """Its integrals over the standard normal law, computed once."""
        return moments(self.function)

    @property
    def forward_gain(self) -> float:
        """What keeps the second moment of pre-activations: `1 / sqrt(E phi^2)`."""
        return self.moments.forward_gain

    @property
    def centred_gain(self) -> float:
        """The same where the mean is subtracted: `1 / sqrt(Var phi)`."""
        return self.moments.centred_gain

    @property
    def backward_gain(self) -> float:
        """What keeps the variance of gradients: `1 / sqrt(E phi'^2)`."""
        return self.moments.backward_gain

    def extra_repr(self) -> str:
        """The word with its parameters."""
        return self.label


activations: Catalog[Callable[..., Activation]] = Catalog("activations")
"""Words `(**parameters) -> Activation`; one with the trait `needs_depth` is given the net's depth first."""


def activation(choice: Choice | str, *, depth: int = 1) -> Activation:
    """The chosen activation for a net in which a row passes `depth` activations."""
    chosen = activations.choose(choice)
    arguments = (depth,) if activations[chosen.name].traits.get("needs_depth") else ()
    made: Activation = activations.call(chosen, *arguments)
    return made


def _identity(x: Tensor) -> Tensor:
    return x


@activations.word("linear", formula="x")
def linear() -> Activation:
    """The identity; a net of it is a linear autoencoder."""
    return Activation("linear", _identity)


@activations.word("relu", formula="max(x, 0)", reference="Nair and Hinton, 2010")
def relu() -> Activation:
    """The rectifier."""
    return Activation("relu", functional.relu)


@activations.word("leaky_relu", formula="x if x > 0 else slope x", reference="Maas, Hannun and Ng, 2013")
def leaky_relu(*, slope: Annotated[float, Field(ge=0, le=1)] = 0.1) -> Activation:
    """A rectifier that lets a part of negative values through, so that no unit can die."""
    return Activation(
        "leaky_relu", functools.partial(functional.leaky_relu, negative_slope=slope), f"leaky_relu({slope:g})"
    )


@activations.word(
    "elu", formula="x if x > 0 else alpha (e^x - 1)", reference="Clevert, Unterthiner and Hochreiter, 2016"
)
def elu(*, alpha: PositiveFloat = 1.0) -> Activation:
    """An exponential below zero and linear above, with a mean near zero."""
    return Activation("elu", functools.partial(functional.elu, alpha=alpha), f"elu({alpha:g})")


@activations.word(
    "selu",
    formula="1.0507 (x if x > 0 else 1.6733 (e^x - 1))",
    reference="Klambauer, Unterthiner, Mayr and Hochreiter, 2017",
)
def selu() -> Activation:
    """The ELU whose mean 0 and variance 1 are a fixed point of a deep net with LeCun weights."""
    return Activation("selu", functional.selu)


@activations.word("gelu", formula="x Phi(x)", reference="Hendrycks and Gimpel, 2016")
def gelu() -> Activation:
    """The input times the normal law's distribution function, in its exact form."""
    return Activation("gelu", functional.gelu)


@activations.word("silu", formula="x / (1 + e^-x)", reference="Elfwing, Uchibe and Doya, 2018")
def silu() -> Activation:
    """The input times its logistic function, also known as swish."""
    return Activation("silu", functional.silu)


@activations.word(
    "softplus", formula="ln(1 + e^x)", reference="Dugas, Bengio, Bélisle, Nadeau and Garcia, 2001"
)
def softplus() -> Activation:
    """A smooth rectifier; its outputs are never negative."""
    return Activation("softplus", functional.softplus)


@activations.word("tanh", formula="tanh x", reference="LeCun, Bottou, Orr and Müller, 1998")
def tanh() -> Activation:
    """The odd sigmoid between -1 and 1."""
    return Activation("tanh", torch.tanh)


@activations.word("sigmoid", formula="1 / (1 + e^-x)", reference="Hinton and Salakhutdinov, 2006")
def sigmoid() -> Activation:
    """The logistic function of the first deep autoencoders; slow without pretraining or centring."""
    return Activation("sigmoid", torch.sigmoid)


def _sine(x: Tensor, omega: float) -> Tensor:
    return torch.sin(omega * x)


@activations.word(
    "sine", formula="sin(omega x)", reference="Sitzmann, Martel, Bergman, Lindell and Wetzstein, 2020"
)
def sine(*, omega: Annotated[float, Field(gt=0, le=100)] = 1.0) -> Activation:
    """A periodic activation of frequency omega."""
    return Activation("sine", functools.partial(_sine, omega=omega), f"sine({omega:g})")


def _scaled_leaky(x: Tensor, slope: float, scale: float) -> Tensor:
    return scale * functional.leaky_relu(x, slope)


@activations.word(
    "tailored_leaky_relu",
    formula="sqrt(2 / (1 + a^2)) (x if x > 0 else a x), with a solved from C_a^depth(0) = eta",
    reference="Zhang, Botev and Martens, 2022",
    needs_depth=True,
)
def tailored_leaky_relu(depth: int, *, eta: Annotated[float, Field(gt=0, lt=1)] = 0.9) -> Activation:
    """A leaky rectifier of unit gain whose slope is solved from the depth, for deep plain nets."""
    slope = tailored_slope(depth, eta)
    scale = math.sqrt(2 / (1 + slope**2))
    function = functools.partial(_scaled_leaky, slope=slope, scale=scale)
    return Activation("tailored_leaky_relu", function, f"tailored_leaky_relu(slope {slope:.4f})")
