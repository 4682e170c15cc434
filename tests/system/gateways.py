"""Gateways without the rest of a house, each on a port of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.system.house import clean_environment, free_port


@contextmanager
def gateway(home: Path, number: int = 0, *arguments: str, **given: str) -> Iterator[httpx.Client]:
    """A gateway; the second has no room for more than one model, so that it loads all the time."""
    port = free_port()
    environment = {
        "HOURGLASS_HOME": str(home),
        "HOURGLASS_PORT": str(port),
        "HOURGLASS_INFERENCE_THREADS": "1",
        "HOURGLASS_FREE_DISK_FLOOR_BYTES": "0",
        "HOURGLASS_CARETAKER_SECONDS": "0.1",
        **({"HOURGLASS_MODEL_CACHE_BYTES": "1"} if number else {}),
        **given,
    }
    with (home.parent / f"gateway{number}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", *arguments],
            cwd=home.parent,
            env=clean_environment(**environment),
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def is_open(client: httpx.Client) -> bool:
    """Whether it answers, and can."""
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False
