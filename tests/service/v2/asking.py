"""What tritonclient is asked to send and to bring, and what the model itself makes of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from autoencoders import bundle
from tests.service.v2.conftest import Float32

OUTPUTS = ("code", "reconstruction", "score")


def asked(
    rows: np.ndarray[Any, Any], *, datatype: str | None = None, binary: bool = True
) -> list[triton.InferInput]:
    tensor = triton.InferInput("input", list(rows.shape), datatype or np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return [tensor]


def wanted(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def expected(model: bundle.TrainedModel, rows: Float32) -> dict[str, Float32]:
    return {
        "code": model.encode(rows),
        "reconstruction": model.reconstruct(rows),
        "score": model.score(rows).error,
    }


def close(found: Any, plain: Float32) -> None:
    assert found.dtype == np.float32
    assert found.shape == plain.shape
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)
