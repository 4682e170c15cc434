"""The child process that diagnoses a job."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autoencoders.data import write_rows
from tests.autoencoders import tiny

SPEC = {
    "architecture": {"name": "dense", "widths": [8], "code": 3},
    "init": "he_normal",
    "training": {"epochs": 2, "batch_size": 32},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tiny.rows(200), tmp_path / "dataset")
    return tmp_path / "dataset"


def ask(**request: Any) -> tuple[int, dict[str, Any]]:
    ended = subprocess.run(
        [sys.executable, "-m", "autoencoders.diagnose"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_it_answers_with_the_diagnosis(folder: Path) -> None:
    code, found = ask(spec=SPEC, folder=str(folder), rows=100, threads=1, device="cpu", earlier={})
    assert code == 0
    assert found["rows"] == 75 + 20
    assert found["verdict"]["outlook"] in {"learns", "slow", "stuck", "diverges"}


def test_it_ends_its_trial_when_it_is_told_to(folder: Path) -> None:
    job = {**SPEC, "training": {"epochs": 20, "batch_size": 32}}
    code, found = ask(spec=job, folder=str(folder), rows=100, seconds=1e-3)
    assert code == 0
    assert (found["trial"]["steps"], found["trial"]["planned"]) == (10, 100)


def test_the_time_before_it_was_started_counts_as_well(folder: Path) -> None:
    job = {**SPEC, "training": {"epochs": 20, "batch_size": 32}}
    asked = time.time() - 3600
    _, found = ask(spec=job, folder=str(folder), rows=100, seconds=3000.0, asked=asked)
    assert found["trial"]["steps"] == 10


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"init": "no_such_word"}, ["init"]),
        ({"objective": {"augmentation": "flip"}}, ["objective", "augmentation"]),
        ({"init": {"name": "model", "source": "nobody@1"}}, ["init", "source"]),
    ],
)
def test_what_is_refused_is_refused_with_its_place(
    wrong: dict[str, Any], where: list[str], folder: Path
) -> None:
    code, found = ask(spec={**SPEC, **wrong}, folder=str(folder))
    assert code == 3
    assert found["problems"][0]["loc"][: len(where)] == where
    assert found["message"]
