"""How fast one machine of the RBM stack learns: 784-1000, CD-1, batches of 100, float32.

Run by `training.py`, whose tables it joins. The products alone are the three of the two phases and one for
the statistics of both, `[h0; -h1]' [v0; v1]`, on tensors that are there already.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM

from autoencoders.init.rbm import ContrastiveDivergence, Rbm
from autoencoders.init.rbm_stack import run_epoch
from autoencoders.randomness import generator

VISIBLE, HIDDEN, BATCH = 784, 1000, 100


def products(steps: int) -> Iterator[float]:
    """Seconds of so many steps' matrix products."""
    weight, gradient = torch.randn(HIDDEN, VISIBLE), torch.empty(HIDDEN, VISIBLE)
    visible, hidden = torch.rand(2 * BATCH, VISIBLE), torch.rand(2 * BATCH, HIDDEN)
    v0, v1, h0, h1 = visible[:BATCH], visible[BATCH:], hidden[:BATCH], hidden[BATCH:]
    while True:
        start = time.perf_counter()
        for _ in range(steps):
            torch.mm(v0, weight.t(), out=h0)
            torch.mm(h0, weight, out=v1)
            torch.mm(v1, weight.t(), out=h1)
            torch.mm(hidden.t(), visible, out=gradient)
        yield time.perf_counter() - start


def hourglass(rows: np.ndarray) -> Iterator[float]:
    """Seconds of an epoch as the word `rbm_stack` trains its first machine."""
    data = torch.from_numpy(rows).float() / 255
    rbm = Rbm.drawn(VISIBLE, HIDDEN, generator(0, "weights"))
    trainer, order = ContrastiveDivergence(rbm, generator(0, "states")), generator(0, "order")
    while True:
        start = time.perf_counter()
        run_epoch(trainer, data, BATCH, order, momentum=0.5)
        yield time.perf_counter() - start


def by_hand(rows: np.ndarray) -> Iterator[float]:
    """Seconds of an epoch of the same updates as one writes them down, a tensor for each result."""
    data = torch.from_numpy(rows).float() / 255
    weight = 0.1 * torch.randn(HIDDEN, VISIBLE, generator=generator(0, "by hand"))
    b, c = torch.zeros(VISIBLE), torch.zeros(HIDDEN)
    velocity, b_velocity, c_velocity = torch.zeros_like(weight), torch.zeros_like(b), torch.zeros_like(c)
    while True:
        start = time.perf_counter()
        for index in torch.randperm(len(data)).split(BATCH):
            v0 = data[index]
            h0 = torch.sigmoid(v0 @ weight.t() + c)
            v1 = torch.sigmoid(torch.bernoulli(h0) @ weight + b)
            h1 = torch.sigmoid(v1 @ weight.t() + c)
            gradient = (h0.t() @ v0 - h1.t() @ v1) / len(v0)
            velocity = 0.5 * velocity + 0.1 * (gradient - 2e-4 * weight)
            b_velocity = 0.5 * b_velocity + 0.1 * (v0 - v1).mean(dim=0)
            c_velocity = 0.5 * c_velocity + 0.1 * (h0 - h1).mean(dim=0)
            weight, b, c = weight + velocity, b + b_velocity, c + c_velocity
        yield time.perf_counter() - start


def scikit_learn(rows: np.ndarray) -> Iterator[float]:
    """Seconds of an epoch of scikit-learn's machine, which keeps its chains and has no momentum."""
    data = (rows / 255).astype(np.float32)
    while True:
        machine = BernoulliRBM(HIDDEN, learning_rate=0.1, batch_size=BATCH, n_iter=1, random_state=0)
        start = time.perf_counter()
        machine.fit(data)
        yield time.perf_counter() - start


def contenders(rows: np.ndarray) -> dict[str, Iterator[float]]:
    """All of them; each yields the seconds of one pass over the rows at a time."""
    return {
        "products": products(len(rows) // BATCH),
        "hourglass": hourglass(rows),
        "by_hand": by_hand(rows),
        "scikit_learn": scikit_learn(rows),
    }
