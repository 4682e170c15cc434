"""LitServe, its batching on."""

from __future__ import annotations

import sys

import litserve
import numpy as np
from encoder import Encoder, dealt


class Api(litserve.LitAPI):
    """Requests of any number of rows, gathered to batches."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the encoder."""
        self.encoder = Encoder()

    # LitServe makes its route from these two signatures: without types they take and give plain JSON.
    def decode_request(self, request):
        """The rows of a parsed body."""
        return np.array(request["inputs"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        """Rows of all requests, and how many each has."""
        return np.concatenate(inputs), [len(rows) for rows in inputs]

    def predict(self, inputs: tuple[np.ndarray, list[int]]) -> list[np.ndarray]:
        """One forward pass for all."""
        rows, counts = inputs
        return dealt(self.encoder(rows), counts)

    def unbatch(self, output: list[np.ndarray]) -> list[np.ndarray]:
        """Cut already."""
        return output

    def encode_response(self, output):
        """Lists, as its JSON answers want them."""
        return {"codes": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=32, batch_timeout=0.001, api_path="/encode"),
        accelerator="cpu",
        workers_per_device=int(sys.argv[2]),
        max_payload_size=100 * 1024 * 1024,
    )
    server.run(
        port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="error",
        access_log=False,
    )  # fmt: skip
