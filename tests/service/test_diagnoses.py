"""Diagnoses over real ASGI, made by real child processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import anyio.to_thread
import httpx
import orjson
import psutil
import pytest

from service.diagnosing import CHILD
from service.routes.diagnosis_wire import Diagnosis
from store import Models
from tests.service.conftest import Door, Opens, issue
from tests.service.test_jobs import WRONG

SMALL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"name": "dense", "widths": [24, 16], "code": 8},
    "init": "he_normal",
    "training": {"epochs": 2},
}
# So many epochs of pretraining that nobody waits for its end.
ENDLESS: dict[str, Any] = {
    **SMALL,
    "architecture": {"name": "dense", "widths": [1000], "code": 8, "activation": "sigmoid"},
    "init": {"name": "rbm_stack", "epochs": 1000},
}


def _children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if CHILD in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def _until(question: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def _asked(
    door: Door, body: dict[str, Any], count: int
) -> tuple[list[threading.Thread], list[httpx.Response]]:
    """So many requests at once, and their answers as they come."""
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(door.post("/v1/diagnoses", json=body)))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads, answers


def test_a_job_is_diagnosed_and_nothing_is_queued(serving: Door) -> None:
    answer = serving.post("/v1/diagnoses", json=SMALL, headers={"X-Request-ID": "look"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"] == "look"
    said = answer.json()
    assert [layer["name"] for layer in said["layers"]] == [
        *("encoder.0", "encoder.1", "code", "decoder.0", "decoder.1", "decoder.output")
    ]
    assert set(Diagnosis.model_fields) <= set(said)
    assert 0 < said["rows"] <= 2000
    assert said["losses"]["mean"] > said["losses"]["pca"] > 0
    assert said["trial"]["errors"][0][0] == 0
    assert said["verdict"]["outlook"] in ("learns", "slow", "stuck", "diverges")
    assert said["verdict"]["will_learn"] is (said["verdict"]["outlook"] == "learns")
    assert said["verdict"]["cause"]
    assert said["verdict"]["evidence"]
    assert serving.get("/v1/jobs").json()["items"] == []
    assert not _children()
    assert 'hourglass_diagnoses_total{outcome="made"}' in serving.get("/metrics").text


def test_an_init_that_is_left_out_is_chosen_and_the_choice_is_diagnosed(serving: Door) -> None:
    body = {key: value for key, value in SMALL.items() if key != "init"}
    answer = serving.post("/v1/diagnoses", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    raced = {entry["init"]["name"]: entry["error"] for entry in said["auto"]["candidates"] if entry["raced"]}
    assert said["auto"]["chosen"]["name"] == min(raced, key=raced.__getitem__)
    start = next(entry for entry in said["auto"]["candidates"] if entry["init"] == said["auto"]["chosen"])
    assert said["verdict"]["evidence"]["expected.closed"] == pytest.approx(start["forecast"], rel=1e-6)


def test_a_sample_needs_no_upload(door: Door) -> None:
    body = {**SMALL, "dataset": "blobs", "architecture": {"name": "dense", "widths": [8], "code": 2}}
    answer = door.post("/v1/diagnoses", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["code"]["active"] <= 2


def test_an_earlier_models_weights_are_looked_at_as_they_are(serving: Door) -> None:
    body = {
        "dataset": "digits",
        "architecture": {"name": "dense", "widths": [16], "code": 4},
        "init": {"name": "model", "source": "digits-code@1"},
    }
    answer = serving.post("/v1/diagnoses", json=body)
    assert answer.status_code == 200, answer.text
    with serving.store.session() as session:
        earlier = Models(session).resolve("digits-code@1").error
    # All 180 held-out rows are looked at: it is the very error that its training ended with.
    assert answer.json()["losses"]["start"] == pytest.approx(earlier, rel=1e-4)
    unknown = serving.post("/v1/diagnoses", json={**body, "init": {"name": "model", "source": "nobody"}})
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["loc"] == ["init", "source"]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_what_is_no_job_is_refused_as_a_job_would_be(
    serving: Door, more: dict[str, Any], place: list[str]
) -> None:
    body = {"dataset": "digits", "code": 8, **more}
    refused, as_job = (serving.post(path, json=body) for path in ("/v1/diagnoses", "/v1/jobs"))
    assert refused.status_code == as_job.status_code == 422, refused.text
    for part in ("type", "title", "detail", "errors"):
        assert refused.json()[part] == as_job.json()[part]
    assert refused.json()["errors"][0]["loc"][: len(place)] == place
    assert refused.json()["instance"] == "/v1/diagnoses"


def test_a_bare_reader_may_not_ask(guarded: Door) -> None:
    assert guarded.post("/v1/diagnoses", json=SMALL).status_code == 401
    assert guarded.post("/v1/diagnoses", json=SMALL, headers=issue(guarded, "read")).status_code == 403
    wrong = {**SMALL, "dataset": "nobody"}
    assert guarded.post("/v1/diagnoses", json=wrong, headers=issue(guarded, "train")).status_code == 422


def test_a_job_that_cannot_fit_is_said_before_a_process_tries(serving: Door) -> None:
    body = {**SMALL, "architecture": {"name": "dense", "widths": [40_000, 40_000], "code": 8}}
    answer = serving.post("/v1/diagnoses", json=body)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("diagnosis-failed")
    assert "bytes of memory" in answer.json()["detail"]


LARGE = {**SMALL, "architecture": {"name": "dense", "widths": [2000, 2000], "code": 8}}
# Room for Python and torch and for the estimate of the job, but not for both.
TIGHT_BYTES = 340_000_000


@pytest.mark.parametrize(
    ("limit", "body", "words"),
    [
        ({"diagnose_memory_bytes": TIGHT_BYTES}, LARGE, f"more than the {TIGHT_BYTES:,} bytes"),
        ({"diagnose_seconds": 1}, ENDLESS, "longer than 1 s"),
    ],
    ids=["memory", "time"],
)
def test_a_diagnosis_stays_within_its_bounds(
    opens: Opens, limit: dict[str, int], body: dict[str, Any], words: str
) -> None:
    with opens(**limit) as door:
        door.post("/v1/datasets", json={"sample": "digits"})
        answer = door.post("/v1/diagnoses", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].endswith("diagnosis-failed")
    assert words in answer.json()["detail"]
    assert not _children()


def test_a_full_house_says_when_to_come_back(opens: Opens) -> None:
    with opens(diagnose_processes=1) as door:
        door.post("/v1/datasets", json={"sample": "digits"})
        gateway = door.app.state.gateway
        # One is made and one more may wait.
        threads, _ = _asked(door, ENDLESS, 2)
        _until(lambda: not gateway.waiting.available_tokens and _children())
        full = door.post("/v1/diagnoses", json=SMALL)
        gateway.end_what_lasts()
        for thread in threads:
            thread.join(30)
    assert full.status_code == 503
    assert int(full.headers["retry-after"]) >= 1
    assert full.json()["type"].endswith("busy")
    assert not _children()


def test_a_service_that_stops_takes_its_diagnoses_along(opens: Opens) -> None:
    with opens() as door:
        door.post("/v1/datasets", json={"sample": "digits"})
        (thread,), answers = _asked(door, ENDLESS, 1)
        _until(_children)
        door.app.state.gateway.end_what_lasts()
        thread.join(30)
    assert [answer.status_code for answer in answers] == [503]
    assert not _children()


def test_a_client_that_goes_away_takes_its_process_along(serving: Door) -> None:
    gone = threading.Event()
    sent: list[MutableMapping[str, Any]] = []
    thread = threading.Thread(target=lambda: serving.portal.call(_call_and_leave, serving, gone, sent))
    thread.start()
    _until(_children)
    (child,) = _children()
    gone.set()
    thread.join(30)
    assert not thread.is_alive()
    assert not child.is_running()


async def _call_and_leave(door: Door, gone: threading.Event, sent: list[MutableMapping[str, Any]]) -> None:
    """A request as a server passes it on, whose client hangs up at a moment of the test's choice."""
    body = [{"type": "http.request", "body": orjson.dumps(ENDLESS), "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        if body:
            return body.pop()
        await anyio.to_thread.run_sync(gone.wait, 60)
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/diagnoses", "headers": headers}
    more = {
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "asgi": {"version": "3.0"},
    }
    await door.app({**scope, **more, "server": ("localhost", 80), "client": ("127.0.0.1", 1)}, receive, send)
