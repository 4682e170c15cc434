from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from pathlib import Path
from store import StoreSettings, logs
logs.configure(StoreSettings(home=Path("{home}"), log_format="{kind}"), "worker")
with logs.bound(request_id="r1", job_id="job_1"):
    logs.get("store.jobs").info("claimed", attempt=2)
    logging.getLogger("celery.worker").warning("from a %s", "library")
logs.get("store.jobs").debug("not said")
try:
    1 / 0
except ZeroDivisionError:
    logs.get("store.jobs").exception("it broke")
"""


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a process of its own writes to stderr, for each format: the settings are the whole process's."""
    said = {}
    for kind in ("json", "console"):
        code = PROGRAM.format(home=tmp_path_factory.mktemp("home"), kind=kind)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout == ""
        said[kind] = done.stderr.splitlines()
    return said


def test_every_line_says_which_process_request_and_job(run: dict[str, list[str]]) -> None:
    ours, library, broken = [json.loads(line) for line in run["json"]]
    assert (ours["event"], ours["attempt"], ours["level"], ours["logger"]) == (
        "claimed",
        2,
        "info",
        "store.jobs",
    )
    assert (library["event"], library["logger"]) == ("from a library", "celery.worker")
    for line in (ours, library):
        assert (line["process"], line["request_id"], line["job_id"]) == ("worker", "r1", "job_1")
        assert line["timestamp"].endswith("Z")
    assert "request_id" not in broken
    assert "ZeroDivisionError" in broken["exception"]
    assert "claimed" in run["console"][0]
    assert "job_1" in run["console"][0]
