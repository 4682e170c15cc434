"""What becomes of a study while its jobs are worked off, as its resource and its report show it."""

from __future__ import annotations

import pytest

from store import Jobs
from tests.service.conftest import Door, issue
from tests.service.studying import PATH, claim, jobs_of, submit, work, work_off


def test_a_study_has_an_etag_that_changes_with_it(served: Door) -> None:
    path = f"{PATH}/{submit(served)['id']}"
    tag = served.get(path).headers["etag"]
    assert served.get(path, headers={"If-None-Match": tag}).status_code == 304
    row = claim(served)
    assert row is not None
    work(served, row)
    changed = served.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["state"] == "running"
    assert changed.json()["progress"]["jobs_over"] == 1


def test_a_study_is_cancelled_resumed_and_removed_as_a_whole(served: Door) -> None:
    study = submit(served)
    path = f"{PATH}/{study['id']}"
    assert served.post(f"{path}/resume").status_code == 409
    assert served.delete(path).status_code == 409
    row = claim(served)
    assert row is not None
    work(served, row)
    for _ in range(2):
        cancelled = served.post(f"{path}/cancel")
        assert cancelled.status_code == 202
        assert cancelled.json()["state"] == "cancelled"
    assert {job["state"] for job in jobs_of(served, study)} == {"succeeded", "cancelled"}
    assert served.delete(f"/v1/jobs/{row.id}").status_code == 409
    assert served.post(f"{path}/resume").json()["state"] in ("queued", "running")
    assert work_off(served) == 7
    assert served.get(path).json()["state"] == "succeeded"
    assert served.post(f"{path}/cancel").status_code == 409
    assert served.delete(path).status_code == 204
    assert served.get(path).status_code == served.get(f"/v1/jobs/{row.id}").status_code == 404
    assert jobs_of(served, study) == []


def test_a_running_study_is_cancelled_once_its_workers_have_ended_it(served: Door) -> None:
    study = submit(served)
    assert claim(served) is not None
    asked = served.post(f"{PATH}/{study['id']}/cancel").json()
    assert (asked["state"], asked["asked"]) == ("running", "cancel")
    assert served.post(f"{PATH}/{study['id']}/resume").status_code == 409
    assert served.get(f"{PATH}/{study['id']}").json()["asked"] == "cancel"


def test_a_race_holds_its_jobs_at_each_rung(served: Door) -> None:
    study = submit(served, racing=True, seeds=[0], budget={"epochs": 9})
    assert study["progress"]["rungs"] == 2
    row = claim(served)
    assert row is not None
    work(served, row)
    held = served.get(f"/v1/jobs/{row.id}").json()
    assert (held["state"], held["progress"]["position"], held["progress"]["epoch"]) == ("queued", None, 3)
    work_off(served)
    over = served.get(f"{PATH}/{study['id']}").json()
    assert over["state"] == "succeeded"
    assert over["best"]["cell"]["architecture.activation"] == "tanh"
    rungs = [job["study"]["rung"] for job in jobs_of(served, study) if job["state"] == "succeeded"]
    assert rungs == [2, 2]
    report = served.get(over["links"]["report"]).json()
    assert [line["raced_out"] for line in report["ranking"]] == [False, False, True, True]


def test_a_report_grows_with_its_study_and_ends_in_a_job_to_submit(served: Door) -> None:
    study = submit(served, model="blobs-code")
    path = study["links"]["report"]
    empty = served.get(path).json()
    assert (empty["study"], empty["complete"], empty["recommended"]) == (study["id"], False, None)
    work_off(served)
    answer = served.get(path)
    report = answer.json()
    assert report["complete"]
    assert report["baselines"] == {"mean": 8.0, "pca": 2.5}
    assert len(report["ranking"]) == 4
    best = report["ranking"][0]
    assert best["cell"] == report["best"]["cell"]
    assert best["error"] == pytest.approx(2 + 6 / 5 + 0.005)
    assert best["interval"] == pytest.approx([3.2, 3.21], abs=1e-3)
    (stuck,) = report["stuck"]
    assert stuck["cell"] == {"init": {"name": "normal", "std": 0.01}, "architecture.activation": "sigmoid"}
    assert report["heat_map"]["rows"]["path"] == "init"
    accepted = served.post("/v1/jobs", json=report["recommended"])
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["spec"]["architecture"]["activation"]["name"] == "tanh"
    assert accepted.json()["model"]["name"] == "blobs-code"
    assert accepted.json()["study"] is None
    again = served.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_report_is_json_or_a_page(served: Door) -> None:
    study = submit(served)
    work_off(served)
    path = study["links"]["report"]
    page = served.get(path, headers={"Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["vary"] == "Accept"
    assert "Study of blobs" in page.text
    assert "http://localhost/v1/jobs" in page.text
    plain = served.get(path)
    assert plain.headers["content-type"] == "application/json"
    assert plain.headers["etag"] != page.headers["etag"]


def test_a_failed_training_leaves_its_study_going(served: Door) -> None:
    study = submit(served)
    row = claim(served)
    assert row is not None
    problem = {"type": "urn:hourglass:problem:training-diverged", "detail": "it ran away"}
    with served.store.transaction() as session:
        Jobs(session).finish(row.id, row.token, "failed", problem=problem)
    work_off(served)
    assert served.get(f"{PATH}/{study['id']}").json()["state"] == "succeeded"
    report = served.get(study["links"]["report"]).json()
    assert report["ranking"][-1]["failed"] == 1


@pytest.mark.parametrize("path", ["", "/report"])
def test_an_unknown_study_is_not_found(serving: Door, path: str) -> None:
    assert serving.get(f"{PATH}/study_none{path}").status_code == 404


@pytest.mark.parametrize("path", [PATH, f"{PATH}/study_none", f"{PATH}/study_none/report"])
def test_only_who_may_read_sees_studies(guarded: Door, path: str) -> None:
    assert guarded.get(path).status_code == 401
    assert guarded.get(path, headers=issue(guarded, "train", "infer")).status_code == 403
