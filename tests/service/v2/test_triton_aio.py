"""tritonclient.http.aio as it is installed: aiohttp's own headers, and no inflating but of infer answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import anyio
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from autoencoders import bundle
from tests.service.conftest import ADMIN_KEY
from tests.service.v2.asking import OUTPUTS, asked, close, expected, wanted
from tests.service.v2.conftest import Serves, some_rows

T = TypeVar("T")
Client: TypeAlias = triton_aio.InferenceServerClient


def talk(address: str, story: Callable[[Client], Awaitable[T]]) -> T:
    async def tell() -> T:
        async with Client(address) as client:
            return await story(client)

    return anyio.run(tell)


def test_everything_that_is_asked_is_answered(address: str) -> None:
    async def story(client: Client) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits-code@2")
        assert not await client.is_model_ready("nobody")
        assert (await client.get_server_metadata())["name"] == "hourglass"
        about = await client.get_model_metadata("digits-code")
        assert about["inputs"][0]["shape"] == [-1, 8, 8]
        assert (await client.get_model_metadata("digits-code", "1"))["versions"] == ["1"]
        assert (await client.get_model_config("digits-code"))["input"][0]["dims"] == [8, 8]
        assert len(await client.get_model_repository_index()) == 3
        assert len((await client.get_inference_statistics())["model_stats"]) == 3

    talk(address, story)


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_every_output_is_the_models_own(
    address: str, digits: bundle.TrainedModel, algorithm: str | None, binary: bool
) -> None:
    rows = some_rows(6)

    async def story(client: Client) -> triton.InferResult:
        return await client.infer(
            "digits-code",
            asked(rows, binary=binary),
            outputs=wanted(*OUTPUTS, binary=binary),
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )

    answer = talk(address, story)
    for name, plain in expected(digits, rows).items():
        close(answer.as_numpy(name), plain)


def test_models_are_loaded_and_unloaded(serves: Serves) -> None:
    async def story(client: Client) -> Any:
        await client.load_model("digits-code")
        await client.infer("digits-code", asked(some_rows()))
        await client.unload_model("digits-code")
        return (await client.get_inference_statistics("digits-code", "2"))["model_stats"][0]

    with serves() as address:
        assert talk(address, story)["inference_count"] == 3


def test_the_client_shows_what_is_wrong(address: str) -> None:
    async def story(client: Client) -> None:
        with pytest.raises(InferenceServerException, match="model 'nobody'") as refused:
            await client.get_model_metadata("nobody")
        assert refused.value.status() == "404"
        with pytest.raises(InferenceServerException, match="no output 'logits'"):
            await client.infer("digits-code", asked(some_rows()), outputs=wanted("logits"))
        with pytest.raises(InferenceServerException, match="not offered here"):
            await client.get_trace_settings("digits-code")

    talk(address, story)


def test_a_key_is_needed(serves: Serves) -> None:
    async def story(client: Client) -> None:
        with pytest.raises(InferenceServerException, match="send a key"):
            await client.get_model_metadata("digits-code")
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = await client.infer("digits-code", asked(some_rows()), headers=key)
        assert answer.as_numpy("score").shape == (3,)

    with serves(admin_key=ADMIN_KEY) as address:
        talk(address, story)
