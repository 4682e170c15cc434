from __future__ import annotations

import gzip
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from autoencoders import Dataset
from store import Datasets, Jobs
from tests.service.conftest import Door, Opens

TABLE = b"name,age,height\n" + b"".join(b"p%d,%d,%d\n" % (n, 20 + n, 150 + n) for n in range(20))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


ROWS = np.arange(200, dtype=np.float32).reshape(20, 10)


def _upload(door: Door, content: Any, query: str = "", **headers: str) -> httpx.Response:
    return door.post(f"/v1/datasets{query}", content=content, headers=headers)


def test_an_upload_is_a_finished_dataset(door: Door, home: Path) -> None:
    answer = _upload(door, _npy(ROWS), "?name=ten&label=team:vision", **{"Content-Type": "application/x-npy"})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert made["name"] == "ten"
    assert (made["rows"], made["training_rows"], made["held_out_rows"]) == (20, 18, 2)
    assert made["shape"] == [10]
    assert made["labels"] == {"team": "vision"}
    assert made["statistics"]["maximum"] == 199
    assert len(made["sha256"]) == 64
    assert len(made["preview"]) <= 5
    assert door.get(f"/v1/datasets/{made['id']}").json() == door.get("/v1/datasets/ten").json() == made
    kept = Dataset.open(door.store.artifacts.local_copy(f"datasets/{made['id']}"))
    assert len(kept.training) == 18
    assert not [path for path in (home / "uploads").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "application/x-www-form-urlencoded", ""]
)
def test_the_content_decides_where_the_type_does_not(door: Door, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = _upload(door, gzip.compress(TABLE), "?ignore=name", **headers)
    assert answer.status_code == 201, answer.text
    assert [column["name"] for column in answer.json()["columns"] if column["role"] == "use"] == [
        "age",
        "height",
    ]


def test_a_form_with_one_file_is_an_upload(door: Door) -> None:
    answer = door.post("/v1/datasets?id=name", files={"file": ("My table.csv", TABLE, "text/csv")})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "My-table"
    assert answer.json()["columns"][0]["role"] == "id"


def test_a_form_of_anything_else_is_refused(door: Door) -> None:
    two = [("file", ("a.csv", TABLE, "text/csv")), ("file", ("b.csv", TABLE, "text/csv"))]
    assert door.post("/v1/datasets", files=two).status_code == 422
    field = door.post("/v1/datasets", data={"name": "x"}, files={"file": ("a.csv", TABLE)})
    assert field.status_code == 422
    assert "query" in field.text
    cut = _upload(door, b"--b\r\nno form", **{"Content-Type": "multipart/form-data; boundary=b"})
    assert cut.status_code == 422
    assert _upload(door, b"x", **{"Content-Type": "multipart/form-data"}).status_code == 422


def test_roles_and_holdout_stand_in_the_query(door: Door) -> None:
    answer = door.post(
        "/v1/datasets",
        params={"ignore": "name", "holdout": '{"fraction": 0.5, "seed": 3}', "labels": '{"a": "b"}'},
        content=TABLE,
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["holdout"] == {"fraction": 0.5, "seed": 3}
    assert answer.json()["held_out_rows"] == 10
    assert answer.json()["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("?name=no/name", "name"),
        ("?holdout={", "holdout"),
        ('?holdout={"fraction":2}', "holdout"),
        ("?missing=guess", "missing"),
        ("?ignore=a&id=a", "id"),
        ("?labels=[1]", "labels"),
        ('?holdout={"dataset":"nobody"}', "holdout"),
    ],
)
def test_a_wrong_query_is_pointed_at(door: Door, query: str, place: str) -> None:
    answer = _upload(door, TABLE, query, **{"Content-Type": "text/csv"})
    assert answer.status_code == 422, answer.text
    assert place in answer.json()["errors"][0]["loc"]


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n3\n",
        b"a,b\n1,x\n2,y\n3,z\n",
        b"nonsense \x00\x01\x02",
        b"\x93NUMPY\x01\x00\x10\x00rubbish",
        _npy(np.array([{"a": 1}, {"b": 2}], dtype=object)),
    ],
)
def test_bad_data_leave_nothing(door: Door, home: Path, content: bytes) -> None:
    answer = _upload(door, content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].endswith("data-refused")
    assert door.get("/v1/datasets").json()["items"] == []
    assert not list((home / "artifacts").rglob("*.npy"))
    assert not [path for path in (home / "uploads").iterdir() if path.is_dir()]


def test_a_place_in_bad_data_is_named(door: Door) -> None:
    answer = _upload(door, b"a,b\n1,2\n3,x\n", **{"Content-Type": "text/csv"})
    assert "b" in answer.json()["detail"]


def test_an_empty_body_is_refused(door: Door) -> None:
    assert _upload(door, b"").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"sample": "nothing"}',
        b'{"sample": {"name": "curves", "rows": 0}}',
        b'{"sample": "digits", "url": "s3://a/b"}',
        b'{"simple": "digits"}',
    ],
)
def test_a_wrong_source_is_refused(door: Door, body: bytes) -> None:
    answer = _upload(door, body, **{"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_samples_are_made(door: Door) -> None:
    digits = door.post("/v1/datasets", json={"sample": "digits"}).json()
    assert (digits["name"], digits["rows"], digits["shape"]) == ("digits", 1797, [8, 8])
    curves = door.post("/v1/datasets?name=few", json={"sample": {"name": "curves", "rows": 50}}).json()
    assert (curves["name"], curves["rows"]) == ("few", 50)


def test_urls_are_refused_unless_allowed(door: Door, opens: Opens) -> None:
    answer = door.post("/v1/datasets", json={"url": "https://example.org/a.csv"})
    assert answer.status_code == 422
    assert "HOURGLASS_URL_PREFIXES" in answer.text


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/secret.csv",
        "file:///etc/passwd",
        "https://data.example.evil.org/a.csv",
        "https://data.example/../a.csv",
        "https://data.example/%2e%2e/a.csv",
        "https://data.example@evil.org/a.csv",
        "simplecache::https://data.example/a.csv",
    ],
)
def test_only_what_the_operator_allows_is_fetched(opens: Opens, url: str) -> None:
    with opens(url_prefixes=("https://data.example",)) as door:
        answer = door.post("/v1/datasets", json={"url": url})
    assert answer.status_code == 422
    assert "must begin with" in answer.json()["detail"]


def test_an_allowed_url_is_fetched(opens: Opens) -> None:
    import http.server

    class Shop(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith("away.csv"):
                self.send_response(302)
                self.send_header("Location", "/data/table.csv")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(TABLE)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop) as shop:
        thread = threading.Thread(target=shop.serve_forever)
        thread.start()
        place = f"http://127.0.0.1:{shop.server_port}/data"
        try:
            with opens(url_prefixes=(place,)) as door:
                answer = door.post("/v1/datasets?ignore=name", json={"url": f"{place}/table.csv"})
                assert answer.status_code == 201, answer.text
                assert answer.json()["name"] == "table"
                assert door.post("/v1/datasets", json={"url": f"{place}/away.csv"}).status_code == 422
        finally:
            shop.shutdown()
            thread.join()


def test_a_repeated_upload_gives_the_first_answer(door: Door) -> None:
    headers = {"Content-Type": "application/x-npy", "Idempotency-Key": "one"}
    first = door.post("/v1/datasets?name=a", content=_npy(ROWS), headers=headers)
    again = door.post("/v1/datasets?name=a", content=_npy(ROWS), headers=headers)
    assert again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(door.get("/v1/datasets").json()["items"]) == 1
    other = door.post("/v1/datasets?name=a", content=_npy(ROWS + 1), headers=headers)
    assert other.status_code == 409
    assert door.post("/v1/datasets?name=b", content=_npy(ROWS), headers=headers).status_code == 409


def test_a_refused_upload_frees_its_key(door: Door) -> None:
    headers = {"Idempotency-Key": "one"}
    assert door.post("/v1/datasets", content=b"x\x00", headers=headers).status_code == 422
    assert door.post("/v1/datasets", content=_npy(ROWS), headers=headers).status_code == 201


def test_datasets_are_listed_and_filtered(serving: Door) -> None:
    names = [item["name"] for item in serving.get("/v1/datasets").json()["items"]]
    assert names.count("digits") == 2
    assert "blobs" in names
    assert "preview" not in serving.get("/v1/datasets").json()["items"][0]
    only = serving.get("/v1/datasets?name=blobs").json()["items"]
    assert [item["name"] for item in only] == ["blobs"]
    assert serving.get("/v1/datasets?label=no:body").json() == {"items": [], "next": None}
    first = serving.get("/v1/datasets?limit=1").json()
    assert first["next"]
    assert serving.get(f"/v1/datasets?limit=1&after={first['next']}").json()["items"] != first["items"]


def test_a_dataset_has_an_etag(serving: Door) -> None:
    tag = serving.get("/v1/datasets/digits").headers["etag"]
    again = serving.get("/v1/datasets/digits", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert not again.content


def test_a_dataset_that_a_job_needs_stays(served: Door) -> None:
    job = served.post("/v1/jobs", json={"dataset": "blobs", "code": 2}).json()
    answer = served.delete("/v1/datasets/blobs")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("conflict")
    served.post(f"/v1/jobs/{job['id']}/cancel")
    assert served.delete("/v1/datasets/blobs").status_code == 204
    assert served.get("/v1/datasets/blobs").status_code == 404
    assert served.delete("/v1/datasets/blobs").status_code == 404


def test_a_full_disk_is_said(opens: Opens) -> None:
    with opens(free_disk_floor_bytes=10**18) as door:
        upload = _upload(door, _npy(ROWS))
        job = door.post("/v1/jobs", json={"dataset": "digits", "code": 2})
    assert upload.status_code == 507
    assert job.status_code == 507
    assert upload.json()["type"].endswith("no-room")


def test_a_sample_is_made_once_however_many_ask(door: Door) -> None:
    threads = [
        threading.Thread(
            target=door.post, args=("/v1/jobs",), kwargs={"json": {"dataset": "digits", "code": 2}}
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with door.store.session() as session:
        assert len(Datasets(session).page().items) == 1
        assert len(Jobs(session).page().items) == 4


def test_the_gateways_memory_does_not_grow_with_an_upload(door: Door) -> None:
    portion, seen = b"\x00" * 65_536, []

    async def body() -> AsyncIterator[bytes]:
        for index in range(4000):  # 262 MB
            if index % 200 == 0:
                seen.append(psutil.Process().memory_full_info().uss)
            yield portion

    answer = _upload(door, body(), **{"Content-Type": "application/octet-stream"})
    assert answer.status_code == 422
    assert max(seen) - seen[0] < 64 * 1024 * 1024
