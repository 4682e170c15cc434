from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from service.routes.embeddings import EmbeddingRequest
from store import Jobs, JobState
from tests.service.conftest import Door, issue

DIGITS = "/v1/models/digits-code/embeddings"
CONTENT = bytes(range(256)) * 8


def _embed(door: Door, **body: Any) -> dict[str, Any]:
    answer = door.post(DIGITS, json={"dataset": "digits", **body})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def _made(door: Door, tmp_path: Path, **body: Any) -> str:
    """An embed job that a worker has ended, its file in the store; its path."""
    job = _embed(door, **body)
    (tmp_path / "file").write_bytes(CONTENT)
    door.store.artifacts.put_file(tmp_path / "file", f"jobs/{job['id']}/embeddings.{job['spec']['format']}")
    facts = {"rows": 1797, "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    with door.store.transaction() as session:
        row = Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)
        assert row is not None
        Jobs(session).finish(row.id, row.token, JobState.SUCCEEDED, metrics=facts)
    return f"/v1/jobs/{job['id']}/embeddings"


def test_an_embed_job_is_queued_with_the_version_that_the_name_means_now(served: Door) -> None:
    answer = served.post(DIGITS, json={"dataset": "digits"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"]) == ("embed", "queued")
    assert job["model"] == {"name": "digits-code", "version": 2}
    assert job["spec"]["model"] == "digits-code@2"
    assert job["spec"]["space"] == served.get("/v1/models/digits-code").json()["space"]
    assert (job["spec"]["format"], job["spec"]["outputs"]) == ("parquet", ["code"])
    assert (job["progress"]["rows"], job["progress"]["rows_total"]) == (0, 1797)
    assert job["links"] == {
        "events": f"/v1/jobs/{job['id']}/events",
        "model": "/v1/models/digits-code@2",
    }
    assert served.get(answer.headers["location"]).json() == job


def test_the_bodies_in_the_pages_are_bodies() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    shown = re.findall(r"/embeddings [^\n]*-d '(\{.*?\})'", page)
    assert shown
    for body in shown:
        EmbeddingRequest.model_validate_json(body)


def test_model_and_dataset_stay_while_the_job_needs_them(served: Door) -> None:
    job = _embed(served)
    assert served.delete("/v1/models/digits-code@1").status_code == 204
    refused = served.delete("/v1/models/digits-code@2")
    assert refused.status_code == 409
    assert job["id"] in refused.json()["detail"]
    assert served.delete(f"/v1/datasets/{job['dataset']['id']}").status_code == 409
    assert served.post(f"/v1/jobs/{job['id']}/stop").status_code == 409
    assert served.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert served.delete("/v1/models/digits-code@2").status_code == 204
    resumed = served.post(f"/v1/jobs/{job['id']}/resume")
    assert resumed.status_code == 409
    assert "digits-code@2 was removed" in resumed.json()["detail"]


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ({"dataset": "no-such"}, ["dataset"], "no dataset"),
        ({"dataset": "blobs"}, ["dataset"], "its rows have the shape"),
        ({"dataset": "digits", "outputs": []}, ["outputs"], "at least 1"),
        ({"dataset": "digits", "outputs": ["code", "code"]}, [], "each may be asked for once"),
        ({"dataset": "digits", "outputs": ["code", "score"], "format": "npy"}, [], "npy holds one array"),
        ({"dataset": "digits", "format": "csv"}, ["format"], "'parquet' or 'npy'"),
        ({"dataset": "digits", "epochs": 3}, ["epochs"], "not permitted"),
    ],
)
def test_what_cannot_be_is_refused(serving: Door, body: dict[str, Any], place: list[str], words: str) -> None:
    answer = serving.post(DIGITS, json=body)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["loc"] == place
    assert words in problem["msg"]


def test_columns_that_the_model_does_not_know_are_named(serving: Door) -> None:
    columns = serving.get("/v1/models/blobs-code").json()["columns"]
    header = [*columns[:-1], "other"]
    lines = [",".join(header), *(",".join(str(n + k) for k in range(len(header))) for n in range(5))]
    headers = {"content-type": "text/csv"}
    sent = serving.post("/v1/datasets?name=strange", content="\n".join(lines).encode(), headers=headers)
    assert sent.status_code == 201, sent.text
    answer = serving.post("/v1/models/blobs-code/embeddings", json={"dataset": "strange"})
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["msg"] == f"it lacks the model's columns {columns[-1]}; the model does not know other"


def test_no_such_model_is_a_404_and_infer_alone_queues_nothing(guarded: Door) -> None:
    may_train, may_infer = issue(guarded, "train"), issue(guarded, "infer")
    body = {"dataset": "digits"}
    assert guarded.post("/v1/models/none/embeddings", json=body, headers=may_train).status_code == 404
    assert guarded.post("/v1/models/none/embeddings", json=body, headers=may_infer).status_code == 403


def test_the_same_key_and_body_queue_one_job(served: Door) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (served.post(DIGITS, json={"dataset": "digits"}, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert len(served.get("/v1/jobs").json()["items"]) == 1
    for path, body in (
        (DIGITS, {"dataset": "digits", "format": "npy"}),
        (DIGITS.replace("/emb", "@1/emb"), {}),
    ):
        other = served.post(path, json={"dataset": "digits", **body}, headers=key)
        assert other.status_code == 409


def test_the_file_comes_when_the_job_has_succeeded(served: Door, tmp_path: Path) -> None:
    job = _embed(served)
    early = served.get(f"/v1/jobs/{job['id']}/embeddings")
    assert early.status_code == 409
    assert "queued" in early.json()["detail"]
    served.post(f"/v1/jobs/{job['id']}/cancel")
    path = _made(served, tmp_path)
    answer = served.get(path)
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["content-disposition"] == 'attachment; filename="digits.digits-code-2.parquet"'
    assert served.get(path.removesuffix("/embeddings")).json()["links"]["embeddings"] == path
    assert served.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    looked = served.request("HEAD", path)
    assert (looked.status_code, looked.content) == (200, b"")
    assert looked.headers["content-length"] == str(len(CONTENT))


def test_a_training_has_no_such_file(served: Door) -> None:
    job = served.post("/v1/jobs", json={"dataset": "digits", "code": 4}).json()
    assert served.get(f"/v1/jobs/{job['id']}/embeddings").status_code == 409


RANGES = {
    "bytes=0-9": (0, 10),
    "bytes=100-": (100, 2048),
    "bytes=-48": (2000, 2048),
    "bytes=2000-9999": (2000, 2048),
    "bytes=-9999": (0, 2048),
    "bytes=0-1,5-6": (0, 2048),
    "lines=1-2": (0, 2048),
    "bytes=-": (0, 2048),
}


def test_a_range_of_it(served: Door, tmp_path: Path) -> None:
    path = _made(served, tmp_path)
    for asked, (start, stop) in RANGES.items():
        answer = served.get(path, headers={"Range": asked})
        whole = stop - start == len(CONTENT)
        assert answer.status_code == (200 if whole else 206), asked
        assert answer.content == CONTENT[start:stop], asked
        if not whole:
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/2048"
        for tag, content in (('"another"', CONTENT), (answer.headers["etag"], CONTENT[start:stop])):
            assert served.get(path, headers={"Range": asked, "If-Range": tag}).content == content
    for asked in ("bytes=2048-", "bytes=9-3", "bytes=-0"):
        answer = served.get(path, headers={"Range": asked})
        assert answer.status_code == 416, asked
        assert answer.headers["content-range"] == "bytes */2048"
        assert answer.json()["type"] == "urn:hourglass:problem:no-such-range"


def test_the_file_goes_with_its_job_and_one_that_is_missing_is_said_to_be(
    served: Door, tmp_path: Path
) -> None:
    path = _made(served, tmp_path, format="npy")
    job = path.split("/")[3]
    served.store.artifacts.remove(f"jobs/{job}/embeddings.npy")
    assert served.get(path).status_code == 410
    assert served.delete(f"/v1/jobs/{job}").status_code == 204
    assert served.get(path).status_code == 404
