"""What every rival runs: the bundle's encoder in ONNX Runtime. Servers are compared, not engines."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime

WIDTH = 784
THREADS = int(os.environ.get("ENGINE_THREADS", "1"))


class Encoder:
    """The forward pass on so many threads as `ENGINE_THREADS` says."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.environ["ENCODER"], options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Codes [n, 30] of rows [n, 784]."""
        (codes,) = self._session.run(["code"], {"input": rows})
        return np.asarray(codes)


def raw(body: bytes) -> np.ndarray:
    """Little-endian float32 as rows [n, 784]."""
    return np.frombuffer(body, dtype="<f4").reshape(-1, WIDTH)


def dealt(codes: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    """The codes of one batch, cut back into those of its requests."""
    return np.split(codes, np.cumsum(counts)[:-1])
