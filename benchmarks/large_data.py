"""Memory while data larger than memory is uploaded and trained on: what gateway and training hold themselves.

python benchmarks/large_data.py [--gigabytes 4] [--memory-limit-gigabytes 1.5]

Opens a house of its own, streams a float32 npy of that size to it, trains one epoch on it, and reports
the greatest RssAnon of gateway, parsing child and training child: a process's own pages, since those of a
memory map are the kernel's to drop. It writes benchmarks/results/large-data.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

FEATURES = 784
ROWS_A_BLOCK = 16_384
MEGABYTE = 1024 * 1024
RESULT = Path(__file__).parent / "results" / "large-data.json"


def body(rows: int) -> Iterator[bytes]:
    """An npy file of `rows` rows of rank 8 and noise, a block at a time."""
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (rows, FEATURES)}
    np.lib.format.write_array_header_1_0(header, about)
    yield header.getvalue()
    source = np.random.default_rng(0)
    directions = source.normal(size=(8, FEATURES)).astype(np.float32)
    for start in range(0, rows, ROWS_A_BLOCK):
        count = min(ROWS_A_BLOCK, rows - start)
        block = source.standard_normal((count, 8), dtype=np.float32) @ directions
        block += 0.5 * source.standard_normal((1, FEATURES), dtype=np.float32)
        yield block.tobytes()


def anonymous_megabytes(process: int) -> float:
    """RssAnon of a process; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


class Peaks(threading.Thread):
    """The greatest RssAnon of every process of the house, by what its command line says it is."""

    ROLES = (
        "cli.main serve",
        "cli.main work",
        "worker.run",
        "autoencoders.data.read_upload",
        "valkey-server",
    )

    def __init__(self, house: int) -> None:
        super().__init__(daemon=True)
        self.house, self.peaks, self.over = (
            psutil.Process(house),
            dict.fromkeys(self.ROLES, 0.0),
            threading.Event(),
        )

    def run(self) -> None:
        """Look ten times a second."""
        while not self.over.wait(0.1):
            try:
                for child in self.house.children(recursive=True):
                    self.note(child)
            except psutil.Error:
                continue

    def note(self, child: psutil.Process) -> None:
        """Count one process in."""
        line = " ".join(child.cmdline())
        for role in self.ROLES:
            if role in line:
                self.peaks[role] = max(self.peaks[role], anonymous_megabytes(child.pid))


def wait_for(client: httpx.Client, path: str, done: Any, seconds: float) -> Any:
    """The answer once `done` says so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = client.get(path).json()
            if done(answer):
                return answer
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{path}: waited {seconds:.0f} s in vain")


def measure(gigabytes: float, limit_gigabytes: float) -> dict[str, Any]:
    """Upload, train, and what it took."""
    rows = int(gigabytes * 1024**3 / (4 * FEATURES))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="hourglass-large-") as home:
        environment = {**os.environ, "HOURGLASS_MEMORY_LIMIT_BYTES": str(int(limit_gigabytes * 1024**3))}
        command = [sys.executable, "-m", "cli.main", "up", "--home", home, "--port", str(port)]
        with (Path(home) / "log").open("wb") as log:
            house = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            return through(house.pid, f"http://127.0.0.1:{port}", rows)
        finally:
            house.terminate()
            house.wait(30)


def through(house: int, url: str, rows: int) -> dict[str, Any]:
    """The main job on these rows, watched."""
    peaks = Peaks(house)
    with httpx.Client(base_url=url, timeout=1800) as client:
        wait_for(client, "/health/ready", lambda ready: not any(ready["parts"].values()), 60)
        client.post("/v1/datasets", json={"sample": "blobs"}).raise_for_status()
        peaks.start()
        time.sleep(1)
        before = peaks.peaks["cli.main serve"]
        began = time.monotonic()
        uploaded = client.post(
            "/v1/datasets?name=large", content=body(rows), headers={"Content-Type": "application/x-npy"}
        )
        uploaded.raise_for_status()
        upload_seconds = time.monotonic() - began
        grown = peaks.peaks["cli.main serve"] - before
        net = {"name": "dense", "widths": [64]}
        spec = {"dataset": "large", "code": 8, "architecture": net, "init": "he_normal"}
        spec["training"] = {"epochs": 1, "batch_size": 1024}
        job = client.post("/v1/jobs", json=spec).raise_for_status().json()["id"]
        over = ("succeeded", "failed", "cancelled")
        found = wait_for(client, f"/v1/jobs/{job}", lambda answer: answer["state"] in over, 1800)
    peaks.over.set()
    return {
        "rows": rows,
        "bytes": rows * FEATURES * 4,
        "upload_seconds": round(upload_seconds, 1),
        "gateway_growth_mb": round(grown, 1),
        "peak_anonymous_mb": {role: round(value, 1) for role, value in peaks.peaks.items()},
        "job": {key: found[key] for key in ("state", "metrics", "baselines", "problem")},
    }


def main() -> None:
    """Measure, print and record."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--gigabytes", type=float, default=4.0)
    arguments.add_argument("--memory-limit-gigabytes", type=float, default=1.5)
    given = arguments.parse_args()
    found = measure(given.gigabytes, given.memory_limit_gigabytes)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
