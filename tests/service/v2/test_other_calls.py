"""Every other call of the protocol on the wire: the repository, health, scopes, and the form of refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from store import Models
from tests.service.conftest import Door, Opens, issue
from tests.service.v2.conftest import some_rows
from tests.service.v2.wire import INFER, refused, request


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/versions/1/ready", 404),
        ("GET", "/v2/models/digits-code/versions/9/stats", 404),
        ("GET", "/v2/models/digits-code/versions/champion", 404),
        ("GET", "/v2/models/digits-code@1/versions/1", 400),
        ("POST", "/v2/models/digits-code@1/versions/1/infer", 400),
        ("GET", INFER, 405),
        ("DELETE", "/v2/models/digits-code", 405),
        ("POST", "/v2/models/digits-code/trace/setting", 501),
        ("GET", "/v2/logging", 501),
        ("POST", "/v2/systemsharedmemory/region/r/register", 501),
        ("POST", "/v2/cudasharedmemory/unregister", 501),
    ],
)
def test_every_refusal_has_the_protocols_form(serving: Door, method: str, path: str, status: int) -> None:
    assert refused(serving.request(method, path, json={} if method == "POST" else None), status)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"parameters": 3}'])
def test_bodies_of_the_repository_are_looked_at(serving: Door, body: bytes) -> None:
    for path in ("index", "models/digits-code/load", "models/digits-code/unload"):
        assert refused(serving.post(f"/v2/repository/{path}", content=body))


def test_the_repository_answers_as_others_do(serving: Door) -> None:
    for body in (b"", b"{}", b'{"ready": true}'):
        index = serving.post("/v2/repository/index", content=body).json()
        assert {"name": "blobs-code", "version": "1", "state": "READY", "reason": ""} in index
    assert serving.get("/v2/models").json() == {"models": ["blobs-code", "digits-code"]}
    loaded = serving.post("/v2/repository/models/blobs-code/load", json={})
    assert (loaded.status_code, loaded.json()) == (200, {"name": "blobs-code", "load": True})
    assert "blobs-code@1" in serving.app.state.gateway.engine.loaded()
    unloaded = serving.post(
        "/v2/repository/models/blobs-code/unload", json={"parameters": {"unload_dependents": False}}
    )
    assert (unloaded.status_code, unloaded.json()) == (200, {"name": "blobs-code", "unload": True})
    assert "blobs-code@1" not in serving.app.state.gateway.engine.loaded()


def test_health_is_told_in_every_dialect(serving: Door) -> None:
    assert serving.get("/v2/health/live").json()["live"] is True
    assert serving.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert serving.get("/v2/models/digits-code/ready").json() == {"name": "digits-code", "ready": True}


def test_without_its_files_a_model_is_not_ready_nor_the_gateway(served: Door, trained: Path) -> None:
    with served.store.session() as session:
        row = Models(session).resolve("digits-code")
    served.store.artifacts.remove(row.artifact)
    assert "gone" in refused(served.get("/v2/models/digits-code/ready"), 503)
    assert refused(served.post(INFER, json=request(some_rows())), 404)
    shutil.rmtree(trained / "artifacts")
    answer = served.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"live": True, "ready": False}
    assert served.get("/v2/health/live").status_code == 200


def test_what_breaks_here_names_no_cause(served: Door) -> None:
    with served.store.session() as session:
        folder = served.store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    for answer in (
        served.post(INFER, json=request(some_rows())),
        served.post("/v2/repository/models/digits-code/load"),
    ):
        assert str(folder) not in refused(answer, 500)


def test_each_call_has_its_scope(opens: Opens) -> None:
    with opens(admin_key="an-admin-key-for-tests") as door:
        reader, inferrer, trainer = (issue(door, scope) for scope in ("read", "infer", "train"))
        for keys, path, status in (
            ((reader, inferrer), "/v2/models", 200),
            ((trainer,), "/v2/models", 403),
            ((reader, inferrer), "/v2/models/nobody", 404),
        ):
            for key in keys:
                assert door.get(path, headers=key).status_code == status
        for key, status in ((reader, 403), (trainer, 403), (inferrer, 404)):
            answer = door.post("/v2/models/nobody/infer", json={}, headers=key)
            assert refused(answer, status)
        for key, status in ((reader, 403), (inferrer, 403), (trainer, 404)):
            for act in ("load", "unload"):
                answer = door.post(f"/v2/repository/models/nobody/{act}", headers=key)
                assert refused(answer, status)
        unknown = door.post(INFER, json={}, headers={"Authorization": "Bearer nobody"})
        assert "unknown, expired or revoked" in refused(unknown, 401)
        assert "www-authenticate" in unknown.headers


def test_too_many_requests_are_told_to_come_again(opens: Opens) -> None:
    with opens(requests_in_flight=1) as door:
        ceiling = door.app.shortcut._ceiling  # type: ignore[attr-defined]  # of our own application
        with ceiling:
            for answer in (door.get("/v2"), door.post(INFER, json={})):
                assert refused(answer, 503)
                assert answer.headers["retry-after"] == "1"
            assert door.get("/v2/health/ready").status_code == 200
