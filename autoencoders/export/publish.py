"""Graphs put into a finished bundle: drawn, held to PyTorch's answers, measured, hashed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from autoencoders import bundle
from autoencoders.bundle import DECODER, ENCODER, BundleManifest, Inference, TrainedModel
from autoencoders.data.arrays import Array
from autoencoders.export import graphs
from autoencoders.export.operators import NotExportable
from autoencoders.export.sessions import Run, check, opened

MEASURED_ROWS = (1, 64, 1024)
_SECONDS_PER_SIZE = 0.1
_MOST_ROUNDS = 200


def add_graphs(folder: Path, rows: Array, *, threads: int = 1) -> BundleManifest:
    """Put `encoder.onnx` and `decoder.onnx` into a bundle, with what computes it fastest here.

    Args:
        folder: a bundle that is whole; as it was before where the model cannot be exported.
        rows: a few raw held-out rows, on which both runtimes are compared.
        threads: of one forward pass while it is measured.

    Raises:
        NotExportable: a part of the model has no operator, onnxruntime answers otherwise, or it is missing.
        BundleDamaged: the folder is not a whole bundle.
    """
    trained = bundle.load(folder)
    try:
        drawn = {ENCODER: graphs.encoder(trained), DECODER: graphs.decoder(trained)}
        runs = opened(drawn[ENCODER], drawn[DECODER])
        checked = check(trained, runs, rows)
    except NotExportable:
        raise
    except Exception as problem:  # onnx and onnxruntime have no common name for what they refuse
        raise NotExportable(" ".join(f"{type(problem).__name__}: {problem}".split())[:300]) from problem
    inference = measure(trained, runs.encode, rows, checked, threads=threads)
    for name, graph in drawn.items():
        (folder / name).write_bytes(graph)
    hashes = trained.manifest.hashes | {name: bundle.sha256_of(folder / name) for name in drawn}
    manifest = trained.manifest.model_copy(update={"hashes": hashes, "inference": inference})
    bundle.write_manifest(folder, manifest)
    return manifest


def measure(
    trained: TrainedModel, encode: Run, rows: Array, checked: dict[str, float], *, threads: int
) -> Inference:
    """Encode in turns by PyTorch and ONNX Runtime; the faster one over all batch sizes is chosen.

    A tenth of a second for each size, but a round in any case; of each the least time counts, which is what
    other work on the machine disturbs least.
    """
    runs: dict[Literal["torch", "onnx"], Run] = {"torch": trained.encode, "onnx": encode}
    least: dict[str, dict[str, float]] = {name: {} for name in runs}
    with _torch_threads(threads):
        for size in MEASURED_ROWS:
            batch = np.resize(rows.reshape(len(rows), -1), (size, trained.facts.features)).astype(np.float32)
            for name, seconds in _alternate(runs, batch).items():
                least[name][str(size)] = round(1e3 * seconds, 4)
    ratios = [least["onnx"][size] / max(least["torch"][size], 1e-9) for size in least["torch"]]
    return Inference(
        runtime="onnx" if float(np.log(np.maximum(ratios, 1e-9)).mean()) < 0 else "torch",
        threads=threads,
        precision="float32",
        milliseconds=least,
        checked=checked,
    )


def _alternate(runs: dict[Literal["torch", "onnx"], Run], batch: bundle.Float32) -> dict[str, float]:
    """The least seconds of each, in turns."""
    least = dict.fromkeys(map(str, runs), float("inf"))
    until = time.perf_counter() + _SECONDS_PER_SIZE
    for _ in range(_MOST_ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            run(batch)
            least[name] = min(least[name], time.perf_counter() - began)
        if time.perf_counter() > until:
            break
    return least


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
