"""What docs/studies.md shows, run as it stands there by a newcomer with a table of their own."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from autoencoders.study import PRESETS
from tests.service.attempts import a_worker
from tests.service.test_report import Outside
from tests.service.v2.conftest import serving_on_a_port

PAGE = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
HOST = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def address(home: Path) -> Iterator[str]:
    with serving_on_a_port(home) as address, a_worker(home):
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the newcomer's table lies: six columns that hang on two numbers."""
    random = np.random.default_rng(0)
    rows = np.tanh(random.normal(size=(240, 2)) @ random.normal(size=(2, 6)))
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list("abcdef"), *np.round(rows, 4).tolist()])
    return tmp_path


def test_a_newcomer_comes_from_a_table_to_a_model(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, submit, look, save, go_on, auto = blocks("console")

    def run(block: str, **variables: str) -> Any:
        said = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(HOST, address)],
            cwd=folder,
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            timeout=60,
        )
        return json.loads(said.stdout) if said.stdout else None

    assert run(upload)["name"] == "mine"
    study = run(submit)
    assert study["progress"]["jobs"] == 8
    study = _over(lambda: run(look, STUDY=study["id"]))
    assert study["state"] == "succeeded", study
    run(save, STUDY=study["id"])
    _is_a_whole_page((folder / "report.html").read_text())
    job = run(go_on, STUDY=study["id"])
    assert job["state"] == "queued"
    _is_right(json.loads((folder / "report.json").read_text()), job)
    job = _over(lambda: httpx.get(f"http://{address}/v1/jobs/{job['id']}").json())
    assert (job["state"], job["model"]["version"]) == ("succeeded", 2)
    (python,) = blocks("python")
    names: dict[str, Any] = {}
    exec(python.replace(HOST, address), names)
    assert names["report"]["complete"]
    assert names["job"]["spec"]["dataset"] == "mine"
    assert run(auto)["spec"]["init"]["name"] == "auto"


def _over(look: Callable[[], dict[str, Any]], seconds: float = 200.0) -> dict[str, Any]:
    """A study or job when it is over."""
    deadline = time.monotonic() + seconds
    while (now := look())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, now
        time.sleep(0.2)
    return now


def _is_a_whole_page(page: str) -> None:
    reader = Outside()
    reader.feed(page)
    assert (reader.found, "script" in reader.tags) == ([], False)
    for part in (
        "What to use",
        "Ranking",
        "Learning curves",
        "Held-out error by init",
        "cost",
        "curl -s http://",
    ):
        assert part in page


def _is_right(report: dict[str, Any], job: dict[str, Any]) -> None:
    assert report["complete"]
    ranked = [line["error"] for line in report["ranking"]]
    assert len(ranked) == 4
    assert ranked == sorted(ranked)
    assert ranked[0] < report["baselines"]["mean"]
    assert report["ranking"][0]["interval"] is not None
    stuck = [line["cell"]["init"] for line in report["stuck"]]
    assert stuck
    assert all(init == {"name": "normal", "std": 0.01} for init in stuck)
    best = report["ranking"][0]["cell"]
    assert job["spec"]["architecture"]["activation"]["name"] == best["architecture.activation"]


def test_every_preset_stands_on_the_page() -> None:
    for name, preset in PRESETS.items():
        assert f"| `{name}` |" in PAGE, preset.summary
