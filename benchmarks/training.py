"""How fast training is, beside the matrix products that nobody can do without and beside a tutorial's loop.

    python benchmarks/training.py [--data rows.npz] [--rounds 7] [--rows 16384] [--precision float32]
    python benchmarks/training.py --inits [--data rows.npz] [--rows 60000]   (see `init_seconds.py`)

Contenders take turns within one run, since the speed of a shared machine drifts: what counts is the median
over rounds of each round's ratio to the products alone. The net is 784-1000-500-250-30 and its mirror,
ReLU, squared error, Adam. After it the same for pretraining: one restricted Boltzmann machine of 784-1000
units, contrastive divergence of one step, batches of 100 (see `rbm.py`), beside scikit-learn's too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

# libgomp reads it once, when torch is imported: waiting threads must not spin while the other one still
# computes.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = "2000"
    os.execv(sys.executable, [sys.executable, *sys.argv])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoencoders.data.scaling import Affine
from autoencoders.events import Epoch
from autoencoders.models import Autoencoder, architectures
from autoencoders.objective import Objective
from autoencoders.optim import optimizers, schedules
from autoencoders.training import Batches, HeldOut, train
from benchmarks import init_seconds, rbm

WIDTHS = (784, 1000, 500, 250, 30)
SIZES = (*WIDTHS, *WIDTHS[-2::-1])
BATCH = 256
RESULTS = Path(__file__).parent / "results"


def read_rows(path: Path | None, count: int) -> np.ndarray:
    """Rows of uint8 images, flat: the archive's `x_train`, or random ones of the same shape."""
    if path is None:
        drawn = np.random.default_rng(0).integers(0, 256, (count, 784), dtype=np.uint8)
        return np.where(drawn < 205, 0, drawn).astype(np.uint8)
    with np.load(path, allow_pickle=False) as archive:
        return archive["x_train"].reshape(-1, 784)[:count].copy()


def products(steps: int) -> Iterator[float]:
    """Seconds of so many steps' forward and backward products, on tensors that are there already."""
    pairs = list(itertools.pairwise(SIZES))
    weights = [torch.randn(wide, narrow) for narrow, wide in pairs]
    inputs = [torch.randn(BATCH, size) for size in SIZES]
    outputs = [torch.empty(BATCH, size) for size in SIZES]
    gradients = [torch.empty_like(weight) for weight in weights]
    while True:
        start = time.perf_counter()
        for _ in range(steps):
            for index, weight in enumerate(weights):
                torch.mm(inputs[index], weight.t(), out=outputs[index + 1])
            for index in reversed(range(len(weights))):
                torch.mm(inputs[index + 1].t(), inputs[index], out=gradients[index])
                if index:
                    torch.mm(inputs[index + 1], weights[index], out=outputs[index])
        yield time.perf_counter() - start


def hourglass(rows: np.ndarray, precision: str) -> Iterator[float]:
    """Seconds of an epoch of this project's own loop; evaluation lies between epochs and is not counted."""
    choice = architectures.choose(
        {"name": "dense", "widths": WIDTHS[1:-1], "code": 30, "activation": "relu", "output": "linear"}
    )
    model: Autoencoder = architectures.call(choice, (784,))
    _he_normal(model)
    affine = Affine(np.zeros(784, np.float32), np.full(784, 1 / 255, np.float32))
    optimizer = optimizers.call(optimizers.choose("adam"), list(model.named_parameters()))
    batches = Batches(rows, affine, batch_size=BATCH, seed=0)
    events = train(
        model,
        Objective("mse"),
        optimizer,
        schedules.call(schedules.choose("constant"), 1),
        batches,
        held_out=HeldOut(rows[:1000], affine),
        epochs=10**6,
        precision="bfloat16" if precision == "bfloat16" else "float32",
    )
    for event in events:
        if isinstance(event, Epoch):
            yield len(rows) / event.rows_per_second


def by_hand(rows: np.ndarray) -> Iterator[float]:
    """Seconds of an epoch of the plainest fast loop: fused Adam, rows gathered from memory."""
    data = torch.from_numpy(rows).float() / 255
    model = _sequential()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    while True:
        start = time.perf_counter()
        for index in torch.randperm(len(data)).split(BATCH):
            batch = data[index]
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch), batch, reduction="sum") / len(batch)
            loss.backward()
            optimizer.step()
        yield time.perf_counter() - start


def tutorial(rows: np.ndarray) -> Iterator[float]:
    """Seconds of an epoch of a tutorial's loop: DataLoader, default Adam, `loss.item()` each step."""
    loader = DataLoader(TensorDataset(torch.from_numpy(rows).float() / 255), batch_size=BATCH, shuffle=True)
    model = _sequential()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.MSELoss()
    while True:
        start, total = time.perf_counter(), 0.0
        for (batch,) in loader:
            optimizer.zero_grad()
            loss = criterion(model(batch), batch)
            loss.backward()
            optimizer.step()
            total += loss.item()
        yield time.perf_counter() - start


def _sequential() -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(SIZES):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    del layers[2 * len(WIDTHS) - 3], layers[-1]
    return nn.Sequential(*layers)


def _he_normal(model: Autoencoder) -> None:
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, (2 / parameter.shape[1]) ** 0.5, generator=draws)


def measure(contenders: dict[str, Iterator[float]], rows: int, rounds: int) -> dict[str, list[float]]:
    """Samples a second of every contender in every round; the first round warms up and is not kept."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            seconds = next(contender)
            if number:
                speeds[name].append(rows / seconds)
    return speeds


def summary(speeds: dict[str, list[float]], *rivals: str) -> dict[str, dict[str, float]]:
    """Medians of speeds and of ratios to the products, and to other rivals, of the same round."""
    found = {}
    for name, speed in speeds.items():
        found[name] = {"samples_per_second": round(statistics.median(speed), 1)}
        for rival in ("products", *rivals):
            ratios = [one / other for one, other in zip(speed, speeds[rival], strict=True)]
            found[name][f"of_{rival}"] = round(statistics.median(ratios), 3)
    return found


def show(title: str, found: dict[str, dict[str, float]], write: Callable[[str], None]) -> None:
    """A table: speeds, and shares of each rival's."""
    write(title)
    for name, figures in found.items():
        shares = "  ".join(f"{value:6.3f} {key}" for key, value in figures.items() if key.startswith("of_"))
        write(f"  {name:12} {figures['samples_per_second']:9.0f} samples/s  {shares}")


def measure_inits(rows: np.ndarray, *, given: bool, write: Callable[[str], None]) -> None:
    """Print the seconds of every init, and write them as JSON into `benchmarks/results/`."""
    found = []
    write(init_seconds.HEAD)
    for one in init_seconds.seconds_of_every_init(rows.reshape(-1, 28, 28)):
        found.append(one)
        write(init_seconds.line(one))
    report = {
        "data": "given" if given else "random",
        "rows": len(rows),
        "threads": 1,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "inits": [asdict(one) for one in found],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "inits.json").write_text(json.dumps(report, indent=1) + "\n")


def main(write: Callable[[str], None] = print) -> None:
    """Measure, print a table, and write it as JSON into `benchmarks/results/`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="an npz with x_train of 28x28 bytes; random rows where none is given"
    )
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument(
        "--inits", action="store_true", help="what every init takes, one thread, and nothing else"
    )
    asked = parser.parse_args()
    if asked.inits:
        measure_inits(read_rows(asked.data, asked.rows), given=asked.data is not None, write=write)
        return
    torch.set_num_threads(asked.threads)
    rows = read_rows(asked.data, asked.rows // BATCH * BATCH)
    speeds = measure(
        {
            "products": products(len(rows) // BATCH),
            "hourglass": hourglass(rows, asked.precision),
            "by_hand": by_hand(rows),
            "tutorial": tutorial(rows),
        },
        len(rows),
        asked.rounds,
    )
    found = summary(speeds)
    show("training", found, write)
    pretraining_rows = rows[: len(rows) // rbm.BATCH * rbm.BATCH]
    speeds = measure(rbm.contenders(pretraining_rows), len(pretraining_rows), asked.rounds)
    pretraining = summary(speeds, "scikit_learn")
    show("pretraining: one machine, CD-1", pretraining, write)
    RESULTS.mkdir(exist_ok=True)
    report = {
        "data": "given" if asked.data else "random",
        "rows": len(rows),
        "rounds": asked.rounds,
        "precision": asked.precision,
        "threads": asked.threads,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "contenders": found,
        "rbm": pretraining,
    }
    (RESULTS / f"training-{asked.precision}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
