"""What KServe's own client is asked to do: run by an interpreter that has `kserve`, which this one has not.

python kserve_story.py http://host:port expected.npz
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

NAME = "digits-code"
Array = np.ndarray[Any, Any]


def asked(rows: Array, datatype: str, *, binary: bool, binary_out: bool) -> InferRequest:
    tensor = InferInput("input", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, binary_data=binary)
    outputs = [
        RequestedOutput(name, {"binary_data": binary_out}) for name in ("code", "reconstruction", "score")
    ]
    return InferRequest(NAME, [tensor], request_id="7", request_outputs=outputs)


async def infers(client: InferenceRESTClient, url: str, rows: Array, plain: dict[str, Array]) -> None:
    for datatype, dtype in (
        ("FP64", "f8"),
        ("FP32", "f4"),
        ("FP16", "f2"),
        ("UINT8", "u1"),
        ("INT64", "i8"),
    ):
        for binary in (True,) if datatype == "FP16" else (True, False):
            for binary_out in (True, False):
                request = asked(rows.astype(dtype), datatype, binary=binary, binary_out=binary_out)
                answer = await client.infer(url, request, model_name=NAME)
                assert answer.model_name == NAME
                assert answer.id == "7"
                for output in answer.outputs:
                    found = output.as_numpy()
                    assert found.shape == plain[output.name].shape
                    np.testing.assert_allclose(found, plain[output.name], rtol=1e-4, atol=1e-5)
    by_hand = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [3, 8, 8], "data": rows.tolist()}]}
    answer = await client.infer(url, by_hand, model_name=f"{NAME}@2")
    assert sorted(output.name for output in answer.outputs) == ["code", "reconstruction", "score"]


async def refuses(client: InferenceRESTClient, url: str, rows: Array) -> None:
    wrong = asked(rows[:, :5], "FP32", binary=False, binary_out=False)
    for request, name, says in ((wrong, NAME, "has the shape [3, 5, 8]"), (wrong, "nobody", "'nobody'")):
        told = ""
        try:
            await client.infer(url, request, model_name=name)
        except httpx.HTTPStatusError as error:
            told = str(error)
        assert says in told, told


async def main(url: str, path: str) -> None:
    plain = dict(np.load(path))
    rows = plain.pop("rows")
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url) is True
    assert await client.is_server_ready(url) is True
    assert await client.is_model_ready(url, NAME) is True
    assert await client.is_model_ready(url, "nobody") is False
    await infers(client, url, rows, plain)
    await refuses(client, url, rows)
    await client.close()
    sys.stdout.write("the story is told\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
