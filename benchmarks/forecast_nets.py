"""The nets on which forecasts are counted: those everybody speaks of, and others drawn from a fixed seed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

BATCH = 200

NORMAL = {width: {"name": "normal", "std": width} for width in (0.01, 0.05, 0.3, 1.0)}
INITS: list[tuple[Any, int]] = [
    (NORMAL[0.01], 3),
    (NORMAL[0.05], 2),
    (NORMAL[0.3], 2),
    (NORMAL[1.0], 2),
    ("glorot_normal", 3),
    ("he_normal", 3),
    ("lecun_uniform", 1),
    ("torch_default", 1),
    ("orthogonal", 2),
    ({"name": "orthogonal", "gain": 3.0}, 1),
    ({"name": "orthogonal", "gain": 0.3}, 1),
    ({"name": "glorot_normal", "gain": 4.0, "centre": True}, 1),
    ({"name": "he_normal", "output_bias": "mean"}, 2),
    ({"name": "normal", "std": 0.01, "output_bias": "mean"}, 1),
    ({"name": "sparse"}, 1),
    ("lsuv", 2),
    ({"name": "lsuv", "centred": False}, 1),
]
ACTIVATIONS = [
    ("sigmoid", 5),
    ("tanh", 3),
    ("relu", 3),
    ("leaky_relu", 3),
    ("gelu", 1),
    ("selu", 1),
    ("silu", 1),
    ("softplus", 1),
]
DEPTHS: list[tuple[list[int], int]] = [
    ([64], 1),
    ([64, 32], 3),
    ([64, 48, 32], 3),
    ([64, 48, 48, 32, 32], 2),
    ([32] * 8, 2),
    ([32] * 14, 1),
]
NORMS = [("none", 6), ("batch", 2), ("layer", 1), ("rms", 1)]
OPTIMIZERS: list[tuple[Any, int]] = [
    ({"name": "adam", "learning_rate": 1e-3}, 5),
    ({"name": "adam", "learning_rate": 1e-2}, 2),
    ({"name": "adam", "learning_rate": 1e-4}, 1),
    ({"name": "adamw", "learning_rate": 3e-3}, 1),
    ({"name": "nesterov", "learning_rate": 1e-2}, 3),
    ({"name": "nesterov", "learning_rate": 1e-3}, 2),
    ({"name": "sgd", "learning_rate": 1e-2}, 1),
    ({"name": "rmsprop", "learning_rate": 1e-3}, 1),
    ({"name": "adagrad", "learning_rate": 1e-2}, 1),
    ({"name": "muon", "learning_rate": 2e-2}, 1),
]
LOSSES = [("mse", 2), ("bce", 1)]
SCHEDULES = [("constant", 1), ("cosine", 1)]
EPOCHS = [(60, 5), (20, 3), (200, 1)]
"""Of 15 steps: a job of 900 steps, a shorter one, and one of which only the beginning is forecast."""


def job(
    init: Any,
    activation: str,
    widths: list[int],
    norm: str,
    optimizer: Any,
    *,
    code: int = 16,
    loss: str = "mse",
    schedule: str = "constant",
    epochs: int = 60,
    **architecture: Any,
) -> dict[str, Any]:
    """The body of a job without its dataset."""
    made = {"name": "dense", "widths": widths, "code": code, "activation": activation, "norm": norm}
    made |= architecture
    if made["name"] != "dense":
        del made["widths"]
    return {
        "architecture": made,
        "init": init,
        "objective": {"loss": loss},
        "optimizer": optimizer,
        "schedule": schedule,
        "training": {"epochs": epochs, "batch_size": BATCH, "early_stopping": None},
    }


def named_jobs() -> dict[str, dict[str, Any]]:
    """The nets that everybody speaks of, at MNIST's size."""
    full = {"widths": [1000, 500, 250], "norm": "none", "code": 30}
    adam, nesterov = OPTIMIZERS[0][0], {"name": "nesterov", "learning_rate": 1e-2}
    deep = {"norm": "none", "code": 30, "optimizer": adam}
    sigmoid = {"activation": "sigmoid", "optimizer": adam, **full}
    shy = {"encoder": "he_normal", "code": {"name": "constant", "value": 0.0}, "decoder": "he_normal"}
    return {
        "sigmoid, N(0, .01^2)": job(init=NORMAL[0.01], **sigmoid),
        "sigmoid, N(0, 1)": job(init=NORMAL[1.0], **sigmoid),
        "every code unit dead": job(
            init={**shy, "layers": {"decoder.0": {"name": "constant", "value": 0.0}}},
            **{**sigmoid, "activation": "relu"},
        ),
        "leaky, He": job(init="he_normal", **{**sigmoid, "activation": "leaky_relu"}),
        "sigmoid, centred LSUV": job(init="lsuv", **sigmoid),
        "sigmoid, RBM stack": job(init={"name": "rbm_stack", "epochs": 5}, **sigmoid),
        "sigmoid, Glorot, Adam": job(init="glorot_normal", **sigmoid),
        "sigmoid, Glorot, Nesterov": job(init="glorot_normal", **{**sigmoid, "optimizer": nesterov}),
        "leaky, He, Nesterov": job(
            init="he_normal", **{**sigmoid, "activation": "leaky_relu", "optimizer": nesterov}
        ),
        "tanh, depth 30 at criticality": job(
            init="isometry", activation="tanh", widths=[128] * 15,
            **{**deep, "optimizer": {"name": "adam", "learning_rate": 3e-4}},
        ),
        "tanh, depth 30 at criticality, too large a rate": job(
            init="isometry", activation="tanh", widths=[128] * 15, **deep
        ),
        "tanh, depth 30 at the edge of chaos": job(
            init="edge_of_chaos", activation="tanh", widths=[128] * 15, **deep
        ),
        "residual, depth 50": job(
            init="depth_scaled", activation="leaky_relu", name="dense_residual", width=128, blocks=12,
            widths=[], **deep,
        ),
    }  # fmt: skip


GRID = {
    "init": [NORMAL[0.01], "glorot_normal", "he_normal", "orthogonal", "lsuv", NORMAL[1.0]],
    "activation": ["sigmoid", "tanh", "relu", "leaky_relu"],
    "widths": [[64, 32], [64, 48, 48, 32, 32], [32] * 8],
    "norm": ["none", "batch"],
    "optimizer": [OPTIMIZERS[0][0], OPTIMIZERS[4][0]],
}
"""What people choose from first: Adam at .001 and Nesterov at .01, 900 steps each."""


def grid_jobs(count: int) -> dict[str, dict[str, Any]]:
    """So many cells of `GRID`, drawn with a fixed seed and without repetition."""
    cells = [job(*cell) for cell in itertools.product(*GRID.values())]
    order = np.random.default_rng(2006).permutation(len(cells))[:count]
    return {describe(cells[index]): cells[index] for index in order}


def drawn_jobs(count: int) -> dict[str, dict[str, Any]]:
    """So many small nets, drawn with a fixed seed."""
    rng = np.random.default_rng(2026)

    def draw(words: list[tuple[Any, int]]) -> Any:
        weights = np.array([weight for _, weight in words], float)
        return words[int(rng.choice(len(words), p=weights / weights.sum()))][0]

    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        made = job(
            draw(INITS),
            draw(ACTIVATIONS),
            draw(DEPTHS),
            draw(NORMS),
            draw(OPTIMIZERS),
            loss=draw(LOSSES),
            schedule=draw(SCHEDULES),
            epochs=draw(EPOCHS),
        )
        found[describe(made)] = made
    return found


def describe(made: dict[str, Any]) -> str:
    """A job in a line."""
    net, optimizer = made["architecture"], made["optimizer"]
    init = made["init"]
    if isinstance(init, dict):
        init = " ".join(str(value) for value in init.values())
    return (
        f"{init}, {net['activation']}, {'-'.join(map(str, net['widths']))}, {net['norm']}, "
        f"{optimizer['name']} {optimizer['learning_rate']:g}, {made['objective']['loss']}, "
        f"{made['schedule']}, {made['training']['epochs']}"
    )
