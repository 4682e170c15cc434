"""tritonclient.http as it is installed, against a gateway on a port."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from autoencoders import bundle
from tests.service.conftest import ADMIN_KEY
from tests.service.v2.conftest import Float32, Serves, some_rows, triton_at

OUTPUTS = ("code", "reconstruction", "score")
KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}


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


def test_the_server_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    about = client.get_server_metadata()
    assert about["name"] == "hourglass"
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(about["extensions"])


@pytest.mark.parametrize("name", ["digits-code", "digits-code@1"])
def test_a_model_is_inspected(client: triton.InferenceServerClient, name: str) -> None:
    about = client.get_model_metadata(name)
    assert about["name"] == "digits-code"
    assert about["versions"] == (["1"] if "@" in name else ["1", "2"])
    assert about["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert {output["name"]: output["shape"] for output in about["outputs"]} == {
        "code": [-1, 4],
        "reconstruction": [-1, 8, 8],
        "score": [-1],
    }
    assert client.is_model_ready(name)
    config = client.get_model_config(name)
    assert config["max_batch_size"] > 1
    assert config["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [8, 8]}]


def test_a_version_is_named_by_number_or_alias(serves: Serves) -> None:
    with serves() as address, triton_at(address) as client:
        assert client.get_model_metadata("digits-code", "1")["versions"] == ["1"]
        assert client.is_model_ready("digits-code", "2")
        assert not client.is_model_ready("digits-code", "3")
        assert client.get_model_config("digits-code", "2")["name"] == "digits-code"
        assert not client.is_model_ready("digits-code@1", "1"), "a version is said once"
        answer = client.infer("digits-code", asked(some_rows()), model_version="1")
        assert answer.get_response()["model_version"] == "1"


def test_nobodys_model_is_not_ready_and_says_so(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("nobody")
    for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="nobody") as refused:
            ask("nobody")
        assert refused.value.status() == "404"
    with pytest.raises(InferenceServerException, match="nobody"):
        client.infer("nobody", asked(some_rows()))


def test_the_repository_lists_every_version(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        ("blobs-code", "1", "READY"),
        ("digits-code", "1", "READY"),
        ("digits-code", "2", "READY"),
    ]


def test_models_are_loaded_and_unloaded(serves: Serves) -> None:
    with serves() as address, triton_at(address) as client:
        client.load_model("digits-code")
        client.load_model("digits-code@1")
        client.unload_model("digits-code@1")
        client.unload_model("digits-code", unload_dependents=True)
        assert client.is_model_ready("digits-code"), "the next request loads it again"
        assert client.infer("digits-code", asked(some_rows())).as_numpy("score").shape == (3,)
        with pytest.raises(InferenceServerException, match="nobody"):
            client.load_model("nobody")
        with pytest.raises(InferenceServerException, match="nobody"):
            client.unload_model("nobody")
        with pytest.raises(InferenceServerException, match="no configuration or files"):
            client.load_model("digits-code", config="{}")
        with pytest.raises(InferenceServerException, match="no configuration or files"):
            client.load_model("digits-code", config="{}", files={"file:1/model.onnx": b"weights"})


def test_statistics_count_rows_and_passes(serves: Serves) -> None:
    with serves() as address, triton_at(address) as client:
        for count in (3, 5):
            client.infer("digits-code", asked(some_rows(count)))
        told = client.get_inference_statistics("digits-code", "2")["model_stats"]
        assert len(told) == 1
        assert told[0]["inference_count"] == 8
        assert told[0]["execution_count"] == 2
        assert told[0]["last_inference"] > 1_700_000_000_000
        stats = told[0]["inference_stats"]
        assert stats["success"]["count"] == 2
        for part in ("compute_input", "compute_infer", "compute_output"):
            assert stats[part]["count"] == 2
            assert stats[part]["ns"] > 0
        assert {batch["batch_size"]: batch["compute_infer"]["count"] for batch in told[0]["batch_stats"]} == {
            3: 1,
            5: 1,
        }
        everything = client.get_inference_statistics()["model_stats"]
        assert sorted((stats["name"], stats["inference_count"]) for stats in everything) == [
            ("blobs-code", 0),
            ("digits-code", 0),
            ("digits-code", 8),
        ]
        assert len(client.get_inference_statistics("digits-code")["model_stats"]) == 2


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


def test_what_is_not_offered_is_said_to_be_so(client: triton.InferenceServerClient) -> None:
    for ask in (
        client.get_trace_settings,
        client.get_log_settings,
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.unregister_system_shared_memory,
    ):
        with pytest.raises(InferenceServerException, match="not offered here") as refused:
            ask()
        assert refused.value.status() == "501"


def test_a_key_is_needed_and_its_lack_is_shown(serves: Serves) -> None:
    with serves(admin_key=ADMIN_KEY) as address, triton_at(address) as client:
        assert client.is_server_live(), "probes have no keys"
        assert client.is_server_ready()
        for ask in (client.get_server_metadata, client.get_model_repository_index):
            with pytest.raises(InferenceServerException, match="send a key") as refused:
                ask()
            assert refused.value.status() == "401"
        with pytest.raises(InferenceServerException, match="send a key"):
            client.infer("digits-code", asked(some_rows()))
        assert client.get_server_metadata(headers=KEY)["name"] == "hourglass"
        answer = client.infer("digits-code", asked(some_rows()), headers=KEY)
        assert answer.as_numpy("code").shape == (3, 4)


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


def test_it_may_lie_under_a_prefix(serves: Serves) -> None:
    with (
        serves(root_path="/ml/hourglass/") as address,
        triton_at(f"{address}/ml/hourglass") as client,
        triton_at(address) as cut,
    ):
        assert client.is_server_ready()
        assert client.get_model_metadata("digits-code@1")["name"] == "digits-code"
        assert client.infer("digits-code", asked(some_rows())).as_numpy("score").shape == (3,)
        with pytest.raises(InferenceServerException, match="nobody"):
            client.infer("nobody", asked(some_rows()))
        answer = cut.infer("digits-code", asked(some_rows()))
        assert answer.as_numpy("score").shape == (3,), "a proxy may cut the prefix off"
