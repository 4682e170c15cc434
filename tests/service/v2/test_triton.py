"""tritonclient.http's inference as it is installed, against a gateway on a port."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from autoencoders import bundle
from tests.service.v2.asking import OUTPUTS, asked, close, expected, wanted
from tests.service.v2.conftest import Serves, some_rows, triton_at


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "JSON out"])
def test_every_output_is_the_models_own(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel, binary_in: bool, binary_out: bool
) -> None:
    rows = some_rows(5)
    answer = client.infer(
        "digits-code",
        asked(rows, binary=binary_in),
        outputs=wanted(*OUTPUTS, binary=binary_out),
        request_id="7",
    )
    assert answer.get_response()["model_name"] == "digits-code"
    assert answer.get_response()["model_version"] == "2"
    assert answer.get_response()["id"] == "7"
    for name, plain in expected(digits, rows).items():
        close(answer.as_numpy(name), plain)


def test_outputs_come_in_the_order_and_form_that_is_asked_for(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel
) -> None:
    rows = some_rows(4)
    outputs = [*wanted("score"), *wanted("code", binary=False), *wanted("reconstruction")]
    answer = client.infer("digits-code", asked(rows), outputs=outputs)
    told = answer.get_response()["outputs"]
    assert [output["name"] for output in told] == ["score", "code", "reconstruction"]
    assert ["data" in output for output in told] == [False, True, False]
    for name, plain in expected(digits, rows).items():
        close(answer.as_numpy(name), plain)


def test_without_a_choice_all_outputs_come(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel
) -> None:
    rows = some_rows(2)
    answer = client.infer("digits-code", asked(rows))
    for name, plain in expected(digits, rows).items():
        close(answer.as_numpy(name), plain)
    assert "id" not in answer.get_response()


def test_rows_may_come_flat(client: triton.InferenceServerClient, digits: bundle.TrainedModel) -> None:
    rows = some_rows(2)
    for binary in (True, False):
        answer = client.infer("digits-code", asked(rows.reshape(2, 64), binary=binary))
        close(answer.as_numpy("code"), digits.encode(rows))
        close(answer.as_numpy("reconstruction"), digits.reconstruct(rows).reshape(2, 64))


@pytest.mark.parametrize(
    "dtype",
    [
        np.float64,
        np.float32,
        np.float16,
        np.uint8,
        np.uint16,
        np.uint32,
        np.uint64,
        np.int8,
        np.int16,
        np.int32,
        np.int64,
    ],
)
def test_every_number_is_cast(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel, dtype: type[np.generic]
) -> None:
    rows = some_rows(3)
    forms = (True,) if dtype is np.float16 else (True, False)
    for binary in forms:
        answer = client.infer("digits-code", asked(rows.astype(dtype), binary=binary), outputs=wanted("code"))
        close(answer.as_numpy("code"), digits.encode(rows))


def test_bfloat16_and_flags_are_cast(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel
) -> None:
    rows = some_rows(3)
    brain = rows.astype(ml_dtypes.bfloat16)
    answer = client.infer("digits-code", asked(brain, datatype="BF16"), outputs=wanted("code"))
    close(answer.as_numpy("code"), digits.encode(rows))
    flags = rows > 8
    for binary in (True, False):
        answer = client.infer("digits-code", asked(flags, binary=binary), outputs=wanted("code"))
        close(answer.as_numpy("code"), digits.encode(flags.astype(np.float32)))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_both_ways_may_be_compressed(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel, algorithm: str, binary: bool
) -> None:
    rows = some_rows(50)
    answer = client.infer(
        "digits-code",
        asked(rows, binary=binary),
        outputs=wanted(*OUTPUTS, binary=binary),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    for name, plain in expected(digits, rows).items():
        close(answer.as_numpy(name), plain)


def test_many_rows_come_back_in_order(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel
) -> None:
    rows = some_rows(5000)
    for binary in (True, False):
        answer = client.infer(
            "digits-code", asked(rows, binary=binary), outputs=wanted("code", binary=binary)
        )
        close(answer.as_numpy("code"), digits.encode(rows))


def test_requests_in_flight_at_once(address: str, digits: bundle.TrainedModel) -> None:
    with triton.InferenceServerClient(address, concurrency=8) as client:
        batches = [some_rows(count, seed=count) for count in range(1, 17)]
        pending = [client.async_infer("digits-code", asked(rows)) for rows in batches]
        for rows, answer in zip(batches, pending, strict=True):
            close(answer.get_result().as_numpy("code"), digits.encode(rows))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros((2, 63), np.float32), r"has the shape \[2, 63\].*\[n, 64\] or \[n, 8, 8\]"),
        (np.zeros((64,), np.float32), r"has the shape \[64\]"),
        (np.zeros((0, 64), np.float32), "at least one row"),
        (np.full((2, 64), np.nan, np.float32), "row 0, column 0: is not a finite"),
        (np.full((1, 64), 1e300), "row 0, column 0: is not a finite float32"),
    ],
)
def test_the_client_shows_what_is_wrong(
    client: triton.InferenceServerClient, rows: np.ndarray[Any, Any], says: str
) -> None:
    with pytest.raises(InferenceServerException, match=says) as refused:
        client.infer("digits-code", asked(rows))
    assert refused.value.status() == "400"


def test_what_is_not_there_is_named(client: triton.InferenceServerClient) -> None:
    rows = some_rows()
    with pytest.raises(InferenceServerException, match="no output 'logits'; a model has code"):
        client.infer("digits-code", asked(rows), outputs=wanted("logits"))
    other = triton.InferInput("INPUT0", [3, 8, 8], "FP32")
    other.set_data_from_numpy(rows)
    with pytest.raises(InferenceServerException, match=r"no input 'INPUT0'.*one input, 'input'"):
        client.infer("digits-code", [other])
    with pytest.raises(InferenceServerException, match="one tensor, not 2"):
        client.infer("digits-code", [*asked(rows), *asked(rows)])
    classes = triton.InferRequestedOutput("code", class_count=3)
    with pytest.raises(InferenceServerException, match="classification is not supported"):
        client.infer("digits-code", asked(rows), outputs=[classes])
    shared = triton.InferInput("input", [3, 8, 8], "FP32")
    shared.set_shared_memory("region", rows.nbytes)
    with pytest.raises(InferenceServerException, match="shared memory is not offered"):
        client.infer("digits-code", [shared])


def test_what_others_use_parameters_for_is_accepted(
    client: triton.InferenceServerClient, digits: bundle.TrainedModel
) -> None:
    rows = some_rows()
    answer = client.infer(
        "digits-code",
        asked(rows),
        sequence_id=5,
        sequence_start=True,
        sequence_end=True,
        priority=1,
        timeout=60_000_000,
        parameters={"team": "vision"},
        query_params={"any": "thing"},
    )
    close(answer.as_numpy("code"), digits.encode(rows))


def test_a_timeout_that_runs_out_is_told(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="longer than the request's timeout"):
        client.infer("digits-code", asked(some_rows(20_000)), timeout=1)


def test_a_body_over_the_limit_is_told(serves: Serves) -> None:
    with serves(body_limit_bytes=100_000) as address, triton_at(address) as client:
        with pytest.raises(InferenceServerException, match="the limit is 100,000") as refused:
            client.infer("digits-code", asked(some_rows(1000)))
        assert refused.value.status() == "413"
        with pytest.raises(InferenceServerException, match="the limit is 100,000"):
            client.infer(
                "digits-code",
                asked(np.zeros((10_000, 64), np.float32)),
                request_compression_algorithm="gzip",
            )
