"""A house of its own for a measurement: `hourglass up` on a folder, a model in it, and a client."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
KEY = "measured-as-it-is-deployed"
OPENING_SECONDS = 120.0


@contextlib.contextmanager
def house(folder: Path, **settings: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A client of a running house, and the house's main process.

    Args:
        folder: where it keeps everything.
        settings: `HOURGLASS_*` without the prefix, in lower case.
    """
    port = free_port()
    given = {"admin_key": KEY, "inference_threads": "1", **settings}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **{f"HOURGLASS_{name}".upper(): value for name, value in given.items()},
    }
    command = [sys.executable, "-m", "cli.main", "up", "--home", str(folder / "home"), "--port", str(port)]
    with (folder / "house.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
    headers = {"Authorization": f"Bearer {KEY}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            _wait_until_ready(client, folder / "house.log")
            yield client, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_until_ready(client: httpx.Client, log: Path) -> None:
    ended = time.monotonic() + OPENING_SECONDS
    while time.monotonic() < ended:
        with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
            answer = client.get("/health/ready")
            if answer.status_code == 200 and not any(answer.json()["parts"].values()):
                return
        time.sleep(0.2)
    raise SystemExit(f"the house did not open: {log.read_text()[-2000:]}")


def finished(client: httpx.Client, job: dict[str, Any], seconds: float = 600.0) -> dict[str, Any]:
    """The job when it is over; it must have succeeded."""
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        now: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
        if now["state"] in ("succeeded", "failed", "cancelled"):
            assert now["state"] == "succeeded", now
            return now
        time.sleep(0.2)
    raise SystemExit(f"the job {job['id']} is not over after {seconds} s")


def trained(client: httpx.Client, **words: Any) -> dict[str, Any]:
    """Submit a job and wait for its end."""
    return finished(client, client.post("/v1/jobs", json=words).raise_for_status().json())
