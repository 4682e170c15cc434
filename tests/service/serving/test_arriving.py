"""Rows of a large body are computed while more of them come, and the answer is that of any other body."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from starlette.types import Message, Scope

from service.app import Application
from service.serving.codecs import json_answers
from service.turns import AT_ONCE, Turns
from tests.service.conftest import Door
from tests.service.serving.on_a_port import held
from tests.service.serving.waiting import until

ROWS = np.random.default_rng(0).random((4000, 64), dtype=np.float32)
BODY = orjson.dumps({"inputs": ROWS}, option=orjson.OPT_SERIALIZE_NUMPY)
PART = 200_000


class Exchange:
    """One request as the server tells an application of it, part by part.

    Args:
        body: the whole.
        then: waited for before the last part is told.
        action: what is asked.
        gone: whether the client has left while it waits for the answer.

    Attributes:
        told: how often the application asked for more.
    """

    def __init__(
        self,
        body: bytes,
        then: Callable[[], object] = lambda: True,
        *,
        action: str = "encode",
        gone: Callable[[], object] = lambda: False,
    ) -> None:
        self._gone = gone
        self._parts = [body[start : start + PART] for start in range(0, len(body), PART)]
        self._then, self._path, self._length = then, f"/v1/models/digits-code/{action}", len(body)
        self.sent: list[Message] = []
        self.told = 0

    @property
    def is_read(self) -> bool:
        """Whether the application has had the whole body."""
        return self.told >= len(self._parts)

    async def run(self, door: Door, *, leaves: bool = False) -> None:
        """Ask; a client that leaves does so in place of the last part."""
        for model in (await door.app.state.gateway.engine.model("digits-code"),):
            for lane in (model.encoding, model.through):
                lane.pace.__init__()  # nothing known: any rows are enough for a pass

        async def receive() -> Message:
            self.told += 1
            if self.told < len(self._parts):
                return {"type": "http.request", "body": self._parts[self.told - 1], "more_body": True}
            if self.told > len(self._parts):
                await until(self._gone)
                return {"type": "http.disconnect"}
            await until(self._then)
            if leaves:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": self._parts[-1], "more_body": False}

        async def send(message: Message) -> None:
            self.sent.append(message)

        await door.app(self._scope(), receive, send)

    def _scope(self) -> Scope:
        length = str(self._length).encode()
        return {
            "type": "http",
            "method": "POST",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"content-length", length),
            ],
            "state": {},
        }

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def document(self) -> Any:
        return orjson.loads(self.sent[1]["body"])


@pytest.fixture
def passes(served: Door) -> Sequence[int]:
    """The rows of each forward pass."""
    seen: list[int] = []

    async def watch() -> None:
        model = await served.app.state.gateway.engine.model("digits-code")
        forward = model.encoding.forward

        def counting(rows: Any, wants: Any) -> Any:
            seen.append(len(rows))
            return forward(rows, wants)

        model.encoding.forward = counting

    served.portal.call(watch)
    return seen


def test_rows_are_computed_before_the_last_of_them_has_come(served: Door, passes: Sequence[int]) -> None:
    asked = Exchange(BODY, lambda: passes)
    served.portal.call(asked.run, served)
    assert asked.status == 200
    whole = served.post("/v1/models/digits-code/encode", content=ROWS.tobytes(), headers={
        "Content-Type": "application/octet-stream", "X-Shape": "4000,64"
    })  # fmt: skip
    np.testing.assert_allclose(asked.document["codes"], whole.json()["codes"], rtol=1e-5, atol=1e-5)
    assert asked.document["model"] == whole.json()["model"]
    assert sum(passes) == 2 * len(ROWS)


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        ("encode", (64,)),
        ("encode", (8, 8)),
        ("reconstruct", (64,)),
        ("reconstruct", (8, 8)),
        ("decode", ()),  # a code's own
    ],
)
def test_an_answer_that_is_written_in_parts_is_that_of_any_other_body(
    served: Door, monkeypatch: pytest.MonkeyPatch, action: str, shape: tuple[int, ...]
) -> None:
    if action == "decode":
        shape = (served.portal.call(served.app.state.gateway.engine.model, "digits-code").code_size,)
    rows = np.random.default_rng(1).random((300_000 // math.prod(shape), *shape), np.float32)
    pieces = []
    add = json_answers.Lists.add

    def counting(lists: json_answers.Lists, values: Any) -> None:
        pieces.append(len(values))
        add(lists, values)

    monkeypatch.setattr(json_answers.Lists, "add", counting)
    asked = Exchange(orjson.dumps({"inputs": rows}, option=orjson.OPT_SERIALIZE_NUMPY), action=action)
    served.portal.call(asked.run, served)
    whole = served.post(f"/v1/models/digits-code/{action}", content=rows.tobytes(), headers={
        "Content-Type": "application/octet-stream", "X-Shape": ",".join(map(str, rows.shape))
    })  # fmt: skip
    assert (asked.status, whole.status_code) == (200, 200)
    (name,) = asked.document.keys() - {"model"}
    found, expected = np.array(asked.document[name]), np.array(whole.json()[name])
    assert found.shape == (rows.shape if action == "reconstruct" else expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert len(pieces) > 1
    assert sum(pieces) == len(rows)


@pytest.mark.parametrize("action", ["encode", "reconstruct", "score"])
def test_a_request_is_one_request_however_many_passes_it_takes(served: Door, action: str) -> None:
    async def counts() -> tuple[int, int]:
        engine = served.app.state.gateway.engine
        seen = engine.statistics((await engine.model("digits-code")).key)
        return seen.success.count, seen.inference_count

    before = served.portal.call(counts)
    asked = Exchange(BODY, action=action)
    served.portal.call(asked.run, served)
    assert asked.status == 200
    after = served.portal.call(counts)
    assert (after[0] - before[0], after[1] - before[1]) == (1, len(ROWS))


@pytest.mark.parametrize(
    ("behind", "place"),
    [
        (b"],[1,2,3]]}", "row 4000: has 3 numbers"),
        (b"," * 2 + b"1]]}", "body"),
        (b']],"per_feature":true}', "per_feature"),
        (b']],"extra":1}', "extra"),
    ],
)
def test_what_is_wrong_behind_rows_that_were_computed_is_named(
    served: Door, passes: Sequence[int], behind: bytes, place: str
) -> None:
    asked = Exchange(BODY.replace(b"]]}", behind), lambda: passes)
    served.portal.call(asked.run, served)
    assert asked.status == 422
    assert place in str(asked.document)


def test_what_stands_behind_rows_is_heeded(served: Door) -> None:
    asked = Exchange(BODY.replace(b"]]}", b']], "per_feature": true}'), action="score")
    served.portal.call(asked.run, served)
    assert asked.status == 200
    assert np.shape(asked.document["per_feature"]) == ROWS.shape


def test_who_leaves_while_rows_wait_leaves_nothing_behind(served: Door, passes: Sequence[int]) -> None:
    async def ask() -> Exchange:
        asked = Exchange(BODY, gone=lambda: True)
        with held(await served.app.state.gateway.engine.model("digits-code")):
            await asked.run(served)
        return asked

    asked = served.portal.call(ask)
    assert asked.sent == []
    one = served.post("/v1/models/digits-code/encode", json={"inputs": ROWS[:1].tolist()})
    assert one.status_code == 200
    assert sum(passes) < len(ROWS), "what was in no pass yet was dropped"


def test_who_leaves_before_the_last_row_leaves_nothing_behind(served: Door, passes: Sequence[int]) -> None:
    asked = Exchange(BODY, lambda: passes)
    served.portal.call(lambda: asked.run(served, leaves=True))
    assert asked.sent == []
    again = Exchange(BODY)
    served.portal.call(again.run, served)
    assert again.status == 200
    batcher = served.app.state.gateway.engine._batcher
    assert (batcher.waiting_rows, batcher.busy) == (0, False)


def test_reading_large_bodies_does_not_run_ahead_of_the_device(served: Door) -> None:
    """Or the rows of all who come, and their bodies, would be in memory at once."""
    body = orjson.dumps({"inputs": ROWS[:2000]}, option=orjson.OPT_SERIALIZE_NUMPY)
    exchanges = [Exchange(body) for _ in range(AT_ONCE + 1)]

    async def ask() -> int:
        assert isinstance(served.app, Application)
        served.app.shortcut._turns = Turns(patience_seconds=600)
        with held(await served.app.state.gateway.engine.model("digits-code")):
            asked = [asyncio.create_task(exchange.run(served)) for exchange in exchanges]
            await until(lambda: sum(exchange.is_read for exchange in exchanges) >= AT_ONCE)
            for _ in range(50):
                await asyncio.sleep(0.001)
            begun = sum(exchange.told > 0 for exchange in exchanges)
        await asyncio.gather(*asked)
        return begun

    assert served.portal.call(ask) == AT_ONCE
    assert [exchange.status for exchange in exchanges] == [200] * len(exchanges)
