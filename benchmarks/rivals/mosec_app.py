"""Mosec: two workers, no wait, ONNX Runtime; JSON by simdjson, or raw float32."""

from __future__ import annotations

import os

import numpy as np
import orjson
from encoder import Encoder, dealt, raw
from mosec import Server, Worker
from simdjson_rows import parse

RAW = os.environ.get("BODY") == "raw"


class Encode(Worker):
    """Gathers what waits, runs it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def deserialize(self, data: bytes) -> np.ndarray:
        """A body's rows."""
        return raw(data) if RAW else parse(data)

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        """One pass for all requests."""
        return dealt(self.encoder(np.concatenate(data)), [len(rows) for rows in data])

    def serialize(self, data: np.ndarray) -> bytes:
        """An answer's body."""
        if RAW:
            return np.ascontiguousarray(data).tobytes()
        return orjson.dumps({"codes": np.ascontiguousarray(data)}, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Encode, num=int(os.environ.get("WORKERS", "2")), max_batch_size=32, max_wait_time=0, timeout=60
    )
    server.run()
