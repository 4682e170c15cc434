"""One restricted Boltzmann machine: its energies, its partition function, and contrastive divergence.

Units are `binary`, or `gaussian` with variance 1 around their mean: the visible ones for real-valued rows,
the hidden ones for a linear code. With both kinds the probability of a configuration is `exp(-E) / Z`,

    E(v, h) = V(v) + H(h) - h' W v,    V(v) = -b' v  or  |v - b|^2 / 2,    H(h) = -c' h  or  |h - c|^2 / 2.

References: Hinton, "Training products of experts by minimizing contrastive divergence", 2002; Hinton and
Salakhutdinov, 2006, with the code that they released; Tieleman, 2008, for the persistent chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Units: TypeAlias = Literal["binary", "gaussian"]

ENUMERABLE = 20
"""The most units whose configurations are written out one by one: a million of them."""


def configurations(units: int, like: Tensor) -> Tensor:
    """Every state of so many binary units, `[2^units, units]`, of the type and on the device of `like`.

    Raises:
        ValueError: there are more states than anybody wants to see.
    """
    if units > ENUMERABLE:
        raise ValueError(f"{units} units have too many configurations; {ENUMERABLE} is the most")
    numbers = torch.arange(2**units, device=like.device)
    bits = numbers[:, None] >> torch.arange(units, device=like.device)
    return (bits & 1).to(like.dtype)


def _own_energy(units: Units, states: Tensor, bias: Tensor) -> Tensor:
    if units == "gaussian":
        return (states - bias).square().sum(dim=-1) / 2
    return -(states @ bias)


def _log_integral(units: Units, pre: Tensor, bias: Tensor) -> Tensor:
    # ln of the sum, or the integral, over one side's states of exp(-own energy + state' field), where
    # `pre` is the field plus the bias.
    if units == "binary":
        return functional.softplus(pre).sum(dim=-1)
    log_volume = math.log(2 * math.pi) / 2 * len(bias)
    return log_volume + (pre.square() - bias.square()).sum(dim=-1) / 2


def _mean(units: Units, pre: Tensor, out: Tensor | None = None) -> Tensor:
    if units == "gaussian":
        return pre
    return torch.sigmoid(pre) if out is None else torch.sigmoid(pre, out=out)


@dataclass(frozen=True)
class Rbm:
    """The weights of one machine; contrastive divergence changes them in place.

    Attributes:
        weight: `W`, [hidden, visible].
        visible_bias: `b`, [visible].
        hidden_bias: `c`, [hidden].
        visible: what its visible units are.
        hidden: what its hidden units are.
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    visible: Units = "binary"
    hidden: Units = "binary"

    @classmethod
    def drawn(
        cls,
        visible_units: int,
        hidden_units: int,
        generator: torch.Generator,
        *,
        std: float = 0.1,
        visible: Units = "binary",
        hidden: Units = "binary",
        device: torch.device | str = "cpu",
    ) -> Rbm:
        """A machine as training begins: weights `N(0, std^2)`, drawn on the CPU, and biases of zero."""
        weight = torch.empty(hidden_units, visible_units, device="cpu").normal_(0, std, generator=generator)
        b, c = (torch.zeros(units, device=device) for units in (visible_units, hidden_units))
        return cls(weight.to(device), b, c, visible, hidden)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """`E(v, h)` of each pair: [rows, visible] and [rows, hidden] give [rows]."""
        bound = (functional.linear(v, self.weight) * h).sum(dim=-1)
        own = _own_energy(self.visible, v, self.visible_bias) + _own_energy(self.hidden, h, self.hidden_bias)
        return own - bound

    def free_energy(self, v: Tensor) -> Tensor:
        """`F(v) = -ln sum_h exp(-E(v, h))` of each row; binary: `-b' v - sum softplus(c + W v)`."""
        pre = functional.linear(v, self.weight, self.hidden_bias)
        own = _own_energy(self.visible, v, self.visible_bias)
        return own - _log_integral(self.hidden, pre, self.hidden_bias)

    def hidden_free_energy(self, h: Tensor) -> Tensor:
        """The same with the visible units summed out: `-ln sum_v exp(-E(v, h))`."""
        pre = functional.linear(h, self.weight.t(), self.visible_bias)
        own = _own_energy(self.hidden, h, self.hidden_bias)
        return own - _log_integral(self.visible, pre, self.visible_bias)

    def log_partition(self) -> Tensor:
        """`ln Z`, exactly: over the states of the smaller binary side, the other side summed out.

        Raises:
            ValueError: neither side is binary and small enough to be written out.
        """
        hidden_units, visible_units = self.weight.shape
        if self.hidden == "binary" and (self.visible == "gaussian" or hidden_units <= visible_units):
            free = self.hidden_free_energy(configurations(hidden_units, self.weight))
        elif self.visible == "binary":
            free = self.free_energy(configurations(visible_units, self.weight))
        else:
            raise ValueError("one side must be binary for its states to be written out")
        return torch.logsumexp(-free, dim=0)

    def hidden_mean(self, v: Tensor) -> Tensor:
        """What the hidden units are on average, given rows: probabilities where they are binary."""
        return _mean(self.hidden, functional.linear(v, self.weight, self.hidden_bias))

    def visible_mean(self, h: Tensor) -> Tensor:
        """What the visible units are on average, given hidden states."""
        return _mean(self.visible, functional.linear(h, self.weight.t(), self.visible_bias))


class _Noise:
    """Independent draws for tensors of one shape, from a generator on the CPU."""

    def __init__(self, shape: tuple[int, int], generator: torch.Generator, device: torch.device) -> None:
        rows, units = shape
        self._generator = generator
        # One 64-bit draw makes two uniform numbers of 32 bits: half the work of drawing floats.
        self._bits = torch.empty((rows * units + 1) // 2, dtype=torch.int64, device="cpu")
        self._words = self._bits.view(torch.int32)[: rows * units].view(rows, units)
        self._normal: Tensor | None = None
        self._device = device

    def states(self, units: Units, mean: Tensor, out: Tensor) -> Tensor:
        """States of units with these means, written into `out`."""
        if units == "binary":
            self._bits.random_(-(2**63), None, generator=self._generator)
            # u = word / 2^32 + 1/2 is uniform on [0, 1); ceil(mean - u) is 1 where u < mean, otherwise 0.
            words = self._words.to(self._device, non_blocking=True)
            torch.add(mean, words, alpha=-(2.0**-32), out=out)
            return out.sub_(0.5).ceil_()
        if self._normal is None:
            self._normal = torch.empty(self._words.shape, device="cpu")
        noise = self._normal.normal_(generator=self._generator)
        return torch.add(mean, noise.to(self._device, non_blocking=True), out=out)


class _Phases:
    """What a step needs for one number of rows: both phases stacked, the positive one first."""

    def __init__(self, rbm: Rbm, rows: int, generator: torch.Generator) -> None:
        hidden_units, visible_units = rbm.weight.shape
        new, device = rbm.weight.new_empty, rbm.weight.device
        self.visible, self.hidden = new(2 * rows, visible_units), new(2 * rows, hidden_units)
        self.drawn_visible, self.drawn_hidden = new(rows, visible_units), new(rows, hidden_units)
        self.visible_noise = _Noise((rows, visible_units), generator, device)
        self.hidden_noise = _Noise((rows, hidden_units), generator, device)
        self.difference = new(rows, visible_units)
        self.signs = torch.cat([new(rows).fill_(1), new(rows).fill_(-1)])
        self.ones = new(2 * rows).fill_(1)


class ContrastiveDivergence:
    """Trains one machine, a batch at a time.

    The statistics of both phases are one product, `[h0; -h1]' [v0; v1]`. With one step of Gibbs sampling the
    reconstruction is the visible units' probabilities, not sampled, as in the released code. With more steps,
    or with persistent chains, every visible state is a sample: only so is the chain's law the machine's own,
    and the gradient the exact one as steps grow.

    Args:
        rbm: the machine.
        generator: on the CPU; all states are drawn from it.
        learning_rate: of weights and biases.
        weight_cost: pulls weights, not biases, towards zero.
        steps: Gibbs steps between the two phases.
        persistent: whether the negative phase goes on from where it was, rather than from the batch.
    """

    def __init__(
        self,
        rbm: Rbm,
        generator: torch.Generator,
        *,
        learning_rate: float = 0.1,
        weight_cost: float = 2e-4,
        steps: int = 1,
        persistent: bool = False,
    ) -> None:
        self.rbm, self.learning_rate, self.weight_cost, self.steps = rbm, learning_rate, weight_cost, steps
        self._generator, self._persistent = generator, persistent
        self._sampled = persistent or steps > 1
        self._chains: Tensor | None = None
        self._phases: dict[int, _Phases] = {}
        self._velocity = torch.zeros_like(rbm.weight)
        self._visible_velocity = torch.zeros_like(rbm.visible_bias)
        self._hidden_velocity = torch.zeros_like(rbm.hidden_bias)

    @torch.no_grad()
    def step(self, rows: Tensor, momentum: float) -> Tensor:
        """One update from a batch [rows, visible].

        `D <- momentum D + rate (statistics / rows - cost W)`, `W <- W + D`; biases likewise, without cost.

        Returns:
            The batch's squared reconstruction error, summed over rows and features: a scalar on the device.
        """
        rbm, phases = self.rbm, self._run(rows)
        rate = self.learning_rate / len(rows)
        # The products add to the velocities as they are made: no gradient is ever written down.
        self._velocity.addmm_(phases.hidden.t(), phases.visible, beta=momentum, alpha=rate)
        self._velocity.add_(rbm.weight, alpha=-self.learning_rate * self.weight_cost)
        self._visible_velocity.addmv_(phases.visible.t(), phases.signs, beta=momentum, alpha=rate)
        self._hidden_velocity.addmv_(phases.hidden.t(), phases.ones, beta=momentum, alpha=rate)
        rbm.weight.add_(self._velocity)
        rbm.visible_bias.add_(self._visible_velocity)
        rbm.hidden_bias.add_(self._hidden_velocity)
        flat = torch.sub(rows, phases.visible[len(rows) :], out=phases.difference).view(-1)
        return torch.dot(flat, flat)

    @torch.no_grad()
    def gradient(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The estimated gradient of the mean log-likelihood for `W`, `b` and `c`; nothing is updated."""
        phases, count = self._run(rows), len(rows)
        return (
            phases.hidden.t() @ phases.visible / count,
            phases.visible.t() @ phases.signs / count,
            phases.hidden.sum(dim=0) / count,
        )

    def _run(self, rows: Tensor) -> _Phases:
        """Fill both phases: `v0`, `h0`, then `v1` and `-h1` after the Gibbs steps."""
        rbm, count = self.rbm, len(rows)
        if count not in self._phases:
            self._phases[count] = _Phases(rbm, count, self._generator)
        phases = self._phases[count]
        h0, h1, v1 = phases.hidden[:count], phases.hidden[count:], phases.visible[count:]
        phases.visible[:count].copy_(rows)
        self._hidden_means(rows, h0)
        means = h0
        if self._persistent:
            means = self._hidden_means(self._chains_for(rows), h1)
        for _ in range(self.steps):
            states = phases.hidden_noise.states(rbm.hidden, means, phases.drawn_hidden)
            torch.addmm(rbm.visible_bias, states, rbm.weight, out=v1)
            _mean(rbm.visible, v1, out=v1)
            if self._sampled:
                v1.copy_(phases.visible_noise.states(rbm.visible, v1, phases.drawn_visible))
            means = self._hidden_means(v1, h1)
        if self._persistent:
            self._chains_for(rows).copy_(v1)
        h1.neg_()
        return phases

    def _hidden_means(self, v: Tensor, out: Tensor) -> Tensor:
        torch.addmm(self.rbm.hidden_bias, v, self.rbm.weight.t(), out=out)
        return _mean(self.rbm.hidden, out, out=out)

    def _chains_for(self, rows: Tensor) -> Tensor:
        """As many chains as there are rows; the first batch is where they start."""
        kept = 0 if self._chains is None else len(self._chains)
        if self._chains is None or kept < len(rows):
            started = rows[kept:].clone()
            self._chains = started if self._chains is None else torch.cat([self._chains, started])
        return self._chains[: len(rows)]
