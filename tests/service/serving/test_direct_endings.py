"""What is answered directly when a client, a model or the server goes, a pass fails, or all is full."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from service import metrics
from service.sending import Protocol
from tests.service.serving.on_a_port import (
    ONE,
    PATH,
    ROUTE,
    ROWS,
    WIDE,
    Gateway,
    held,
    on_a_port,
    plainly,
    read_answers,
    request,
)
from tests.system.house import eventually


def test_the_rows_of_a_client_that_leaves_are_dropped(gateway: Gateway) -> None:
    model, batcher = gateway.model(), gateway.app.state.gateway.engine._batcher
    gone = metrics.requests.labels("POST", ROUTE, "499").value
    with held(model) as (entered, go, seen), gateway.line() as first:
        first.sendall(request(PATH, json.dumps(ONE).encode()))
        assert entered.wait(60)
        second = gateway.line()
        second.sendall(request(PATH, json.dumps({"inputs": ROWS.tolist()}).encode()))
        eventually(lambda: batcher.waiting_rows, "rows to wait")
        second.close()
        eventually(
            lambda: metrics.requests.labels("POST", ROUTE, "499").value > gone,
            "the request to be counted as left",
        )
        go.set()
        assert read_answers(first, 1)[0][0] == 200
    assert seen == [1]
    eventually(lambda: gateway.app.shortcut._ceiling.now == 0, "nothing to be in flight")
    assert gateway.client.post(PATH, json=ONE).status_code == 200


@contextmanager
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("body", [ONE, {"inputs": ROWS[:, :63].tolist()}, WIDE], ids=["plain", "odd", "wide"])
def test_a_model_that_left_the_memory_is_freed_with_its_last_answer(
    gateway: Gateway, taken: list[bool], body: dict[str, Any]
) -> None:
    """At once, and not when garbage is collected next: that is seldom, and models are large."""
    with without_collections():
        plainly(gateway, taken, lambda: gateway.client.post(PATH, json=body))
        left = weakref.ref(gateway.model())
        gateway.app.state.gateway.engine.forget("digits-code")
        eventually(lambda: left() is None, "the model to be freed")
        assert gateway.client.post(PATH, json=ONE).status_code == 200


def test_a_pass_that_fails_is_said_and_the_connection_lives_on(gateway: Gateway) -> None:
    model = gateway.model()
    forward = model.encoding.forward

    def broken(rows: Any, wants: Any) -> Any:
        raise RuntimeError("no such luck")

    model.encoding.forward = broken
    answer = gateway.client.post(PATH, json=ONE)
    model.encoding.forward = forward
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "luck" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert gateway.client.post(PATH, json=ONE).status_code == 200
    assert gateway.app.shortcut._ceiling.now == 0


def test_a_full_house_and_a_full_queue_say_when_to_come_back(trained: Path) -> None:
    with on_a_port(trained, requests_in_flight=1, inference_rows_queued=1) as gateway:
        model = gateway.model()
        with held(model) as (entered, go, _), gateway.line() as first:
            first.sendall(request(PATH, json.dumps(ONE).encode()))
            assert entered.wait(60)
            refused = gateway.client.post(PATH, json=ONE)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            go.set()
            assert read_answers(first, 1)[0][0] == 200
        assert gateway.client.post(PATH, json=ONE).status_code == 200


def _has_read_a_part(gateway: Gateway) -> bool:
    return any(cast(Protocol, one)._body for one in list(gateway.server.server_state.connections))


def _refuses(gateway: Gateway) -> bool:
    """Its door is closed in the same turn of its loop in which its connections are told that it ends."""
    try:
        gateway.line().close()
    except ConnectionRefusedError:
        return True
    return False


def test_what_has_begun_is_answered_when_the_server_ends(gateway: Gateway) -> None:
    model = gateway.model()
    whole = request(PATH, json.dumps(ONE).encode())
    with held(model) as (entered, go, _), gateway.line() as waiting, gateway.line() as coming:
        waiting.sendall(whole)
        assert entered.wait(60)
        coming.sendall(whole[:-10])
        eventually(lambda: _has_read_a_part(gateway), "a part of the body to be read")
        gateway.server.should_exit = True
        eventually(lambda: _refuses(gateway), "the server to end")
        coming.sendall(whole[-10:])
        go.set()
        for line in (waiting, coming):
            assert read_answers(line, 1)[0][0] == 200
            assert line.recv(1) == b"", "the last answer of a connection ends it"
