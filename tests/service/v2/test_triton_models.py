"""What tritonclient.http tells of a gateway's models: inspected, listed, loaded, counted, refused."""

from __future__ import annotations

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.service.conftest import ADMIN_KEY
from tests.service.v2.asking import asked
from tests.service.v2.conftest import Serves, some_rows, triton_at

KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}


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
