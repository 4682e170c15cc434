from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from service.report_page import render
from store import Jobs
from tests.service.conftest import Door

REPORT: dict[str, Any] = {
    "error": 1.5,
    "error_per_feature": 0.02,
    "features": [{"feature": "<b>0</b>", "error": 0.5, "root_in_own_units": 0.7}],
    "baselines": {"mean": 9.0, "pca": None},
    "curves": [
        {
            "epoch": 1,
            "step": 7,
            "train_loss": 3.0,
            "loss": 3.1,
            "error": 2.0,
            "learning_rate": 0.1,
            "seconds": 1,
        },
        {
            "epoch": 2,
            "step": 14,
            "train_loss": 2.0,
            "loss": None,
            "error": 1.5,
            "learning_rate": 0.1,
            "seconds": 2,
        },
    ],
    "gallery": {"shape": [2, 2], "rows": [5], "inputs": [[0, 1, 2, 3]], "reconstructions": [[0, 1, 2, None]]},
    "code_map": {
        "rows": [5, 6],
        "points": [[0.5, 1.0], [-1.0, 2.0]],
        "errors": [1, 2],
        "explained": [0.6, 0.2],
    },
    "worst_rows": [
        {"row": 5, "ids": {"name": "<script>"}, "error": 3, "features": [{"feature": "age", "share": 0.9}]}
    ],
    "history": [{"number": 1, "type": "state", "at": "2026", "data": {"state": "queued"}}],
    "diagnosis": {
        "before": {
            "layers": [
                {
                    "name": "<i>encoder.0</i>",
                    "part": "encoder",
                    "mean": 0.1,
                    "variance": 0.5,
                    "saturated": 0.0,
                    "dead": None,
                    "gradient": 2.0,
                    "backward": 1e-9,
                    "predicted": {"variance": 0.5, "chi": 0.9, "depth_scale": 9.5},
                },
                {"name": "code", "part": "code", "variance": 0.0, "backward": 1.0, "predicted": None},
            ],
            "code": {"effective_rank": 1.2, "correlation": 0.99, "variance": 0.1, "active": 1},
            "reconstruction": {"cosine": 0.3},
            "jacobian": {"singular_values": [1.0, 0.1], "mean_square": 0.5, "variance": None},
            "losses": {"start": 12.0, "mean": 9.0, "pca": 2.0, "objective": 30.0},
            "trial": {"steps": 10, "errors": [[0, 12.0], [10, None]], "closed": 0.0},
            "verdict": {
                "will_learn": False,
                "outlook": "stuck",
                "cause": "all rows get the <same> code",
                "cure": "choose lsuv",
                "evidence": {"<u>code</u>": 0.99},
            },
        },
        "after": {"layers": [], "code": None, "trial": None, "verdict": None},
    },
}


class Outside(HTMLParser):
    """Collects whatever a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [
            value
            for key, value in attrs
            if key in ("src", "href") and value and not value.startswith("data:")
        ]


def _job(door: Door, *, report: bool) -> str:
    job = str(door.post("/v1/jobs", json={"dataset": "blobs", "code": 2}).json()["id"])
    with door.store.transaction() as session:
        row = Jobs(session).claim_next(worker="w", devices=["cpu"], lease_seconds=60)
        assert row is not None
        Jobs(session).finish(job, row.token, "succeeded", model_version=1)
    if report:
        door.store.artifacts.write(f"jobs/{job}/report.json", json.dumps(REPORT).encode())
    return job


def test_a_report_is_json_or_a_page(served: Door) -> None:
    job = _job(served, report=True)
    answer = served.get(f"/v1/jobs/{job}/report")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == REPORT
    page = served.get(
        f"/v1/jobs/{job}/report", headers={"Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"}
    )
    assert page.headers["content-type"].startswith("text/html")
    assert "blobs version 1" in page.text
    assert page.headers["vary"] == "Accept"
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_report_comes_when_the_job_has_succeeded(served: Door) -> None:
    job = served.post("/v1/jobs", json={"dataset": "blobs", "code": 2}).json()["id"]
    answer = served.get(f"/v1/jobs/{job}/report")
    assert answer.status_code == 409
    assert "queued" in answer.json()["detail"]


def test_a_lost_report_is_said(served: Door) -> None:
    assert served.get(f"/v1/jobs/{_job(served, report=False)}/report").status_code == 410


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = render("job_x", "faces", 3, REPORT)
    reader = Outside()
    reader.feed(page)
    assert reader.found == []
    assert "script" not in reader.tags
    assert "&lt;script&gt;" in page
    assert "b" not in reader.tags
    for part in (
        "Held-out error",
        "Curves",
        "Reconstructions",
        "Code map",
        "Worst held-out rows",
        "What happened",
        "it gets stuck",
        "all rows get the &lt;same&gt; code",
        "choose lsuv",
        "Layers before training",
        "&lt;i&gt;encoder.0&lt;/i&gt;",
        "Variance of each layer",
        "Norm of the gradient at each layer",
        "Singular values of the Jacobian",
        "A short trial before training",
    ):
        assert part in page
    assert not {"i", "u", "same"} & set(reader.tags)
    assert "Layers after training" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "not known" in page


def test_a_page_of_an_empty_report_is_still_a_page() -> None:
    assert render("job_x", "faces", None, {}).startswith("<!doctype html>")
    nothing = render("job_x", "faces", None, {"diagnosis": {"before": None, "after": None}})
    assert "Diagnosis" not in nothing
    lines = {
        **REPORT,
        "gallery": {"shape": [3], "rows": [1], "inputs": [[1, 2, 3]], "reconstructions": [[1, 2, 4]]},
    }
    assert "data:image" not in render("job_x", "faces", 1, lines)


def _candidate(name: str, error: float | None, why: str | None = None) -> dict[str, Any]:
    return {
        "init": {"name": name, "output_bias": "mean", "centre": False},
        "outlook": "learns",
        "forecast": 0.75,
        "raced": error is not None,
        "error": error,
        "rounds": [],
        "why": why,
    }


def test_the_page_says_how_init_and_rate_were_chosen() -> None:
    chosen = _candidate("pca", 1.25)
    auto = {
        "chosen": chosen["init"],
        "candidates": [chosen, _candidate("lsuv", 2.5), _candidate("<i>", None, "it <broke>")],
        "rounds": [{"rows": 100, "epochs": 20, "steps": 203}, {"rows": 100, "epochs": 40, "steps": 406}],
        "steps": {"pretraining": 0, "diagnoses": 200, "race": 609},
        "job_steps": 5000,
    }
    tried = [{"rate": 0.001, "error": 1.5}, {"rate": 0.003, "error": None}]
    rate = {"rule": "trial", "given": 0.003, "chosen": 0.001, "tried": tried}
    page = render("job_x", "faces", 3, {**REPORT, "auto": auto, "learning_rate": rate})
    row = "<td>pca, output bias at the mean</td><td>0.75</td><td>learns</td><td>1.25</td><td>chosen</td>"
    assert row in page
    assert "Rounds of 203 and then 406 steps" in page
    assert "809 steps in all, beside the 5000 of the job" in page
    assert "it &lt;broke&gt;" in page
    assert "<i>" not in page
    assert "<td>0.003</td><td>diverged</td>" in page
    plain = render("job_x", "faces", 3, {**REPORT, "auto": None, "learning_rate": None})
    assert "was chosen" not in plain


def test_the_page_says_where_there_was_no_time_for_a_race() -> None:
    auto = {"chosen": {"name": "pca"}, "candidates": [], "rounds": [], "steps": {}, "job_steps": 10}
    assert "no time for a race" in render("job_x", "faces", 3, {**REPORT, "auto": auto})
