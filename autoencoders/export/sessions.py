"""ONNX graphs run by ONNX Runtime, and how far its answers may lie from PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from autoencoders.bundle import CODE, INPUT, RECONSTRUCTION, SCALED, TrainedModel
from autoencoders.data.arrays import Array
from autoencoders.export.operators import NotExportable

Float32 = npt.NDArray[np.float32]
Run = Callable[[Float32], Float32]

TOLERANCE = 1e-5
"""Of a number, and of its output's standard deviation: what rounding may make of the order of sums."""
BATCHES = (1, 7, 300)


class Runs(NamedTuple):
    """A bundle's graphs as functions.

    Attributes:
        encode: raw rows to codes.
        decode: codes to raw rows.
        outputs: codes to scaled rows; None where the graph is of before it said them.
    """

    encode: Run
    decode: Run
    outputs: Run | None


def session(graph: bytes, *, threads: int = 1) -> Any:
    """The graph in ONNX Runtime on the CPU; its threads sleep while they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


def opened(encoder: bytes, decoder: bytes) -> Runs:
    """Both graphs as functions."""
    codes, rows = session(encoder), session(decoder)
    says_scaled = SCALED in {output.name for output in rows.get_outputs()}
    return Runs(
        _run(codes, INPUT, CODE),
        _run(rows, CODE, RECONSTRUCTION),
        _run(rows, CODE, SCALED) if says_scaled else None,
    )


def _run(graph: Any, given: str, wanted: str) -> Run:
    def answer(rows: Float32) -> Float32:
        made: Float32 = graph.run([wanted], {given: rows})[0]
        return made

    return answer


def apart(found: Float32, expected: Float32, spread: float) -> float:
    """The largest difference as a share of what is allowed: `TOLERANCE` of the number and of the spread."""
    allowed = TOLERANCE * (np.abs(expected) + spread)
    gap = np.abs(found.reshape(expected.shape).astype(np.float64) - expected)
    worst = float(np.max(gap / np.maximum(allowed, np.finfo(np.float32).tiny), initial=0.0))
    return worst if np.isfinite(worst) else float("inf")


def check(trained: TrainedModel, runs: Runs, rows: Array) -> dict[str, float]:
    """Hold both graphs to PyTorch's answers on raw rows, in batches of several sizes.

    Answers the largest difference of each output by its name, 1 being the most that is allowed.

    Raises:
        NotExportable: one of them answers otherwise.
    """
    many = np.resize(rows.reshape(len(rows), -1), (max(BATCHES), trained.facts.features)).astype(np.float32)
    codes = trained.encode(many)
    answers = {CODE: (runs.encode, many, codes)}
    for name, run, expected in (
        (RECONSTRUCTION, runs.decode, trained.decode(codes).reshape(len(many), -1)),
        (SCALED, runs.outputs, trained.outputs(codes)),
    ):
        if run is not None:
            answers[name] = (_after(runs.encode, run), many, expected)
    worst = {name: max(_worst(*answer, size) for size in BATCHES) for name, answer in answers.items()}
    if bad := [name for name, share in worst.items() if not share <= 1]:
        said = ", ".join(f"{name} by {worst[name]:.3g} times what is allowed" for name in bad)
        raise NotExportable(f"ONNX Runtime answers otherwise than PyTorch: {said}")
    return {name: round(share, 4) for name, share in worst.items()}


def _worst(run: Run, given: Float32, expected: Float32, size: int) -> float:
    """Over batches of this size, at most a few of them."""
    starts = range(0, min(len(given), 16 * size), size)
    found = np.concatenate([run(given[start : start + size]) for start in starts])
    return apart(found, expected[: len(found)], float(expected.std()))


def _after(first: Run, then: Run) -> Run:
    return lambda rows: then(first(rows))
