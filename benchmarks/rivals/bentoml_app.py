"""BentoML, its adaptive batching on."""

from __future__ import annotations

import os

import bentoml
import numpy as np
from encoder import Encoder


@bentoml.service(workers=int(os.environ.get("WORKERS", "2")), traffic={"timeout": 60})
class Encode:
    """Rows of several requests are one array here: BentoML stacks them."""

    def __init__(self) -> None:
        self.encoder = Encoder()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=2048, max_latency_ms=1000, route="/encode")
    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """Codes of rows."""
        return self.encoder(np.asarray(inputs, np.float32))
