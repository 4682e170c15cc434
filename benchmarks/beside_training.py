"""Serving beside a training on the same cores: the latency of one-row requests, and what training keeps.

    python benchmarks/beside_training.py [--seconds 60] [--rate 100]

One house of one gateway and one worker, on all cores. First a training alone; then the same training while
one-row requests arrive in an open loop, at fixed moments whether or not earlier ones were answered, so that a
stall is counted in full. A request's latency runs from the moment when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np

from benchmarks.house import house, trained
from benchmarks.records import RESULTS, circumstances

WIDTHS = {"name": "dense", "widths": [1000, 500, 250], "activation": "leaky_relu"}
ROWS = (20_000, 784)
SHORT = {"epochs": 1, "batch_size": 256, "early_stopping": None}
LONG = {"epochs": 10_000, "batch_size": 256, "early_stopping": None}


def samples_per_second(client: httpx.Client, job: str, seconds: float) -> float:
    """Training rows a second over so many seconds, by the steps that the job's row counts."""

    def step() -> int:
        return int(client.get(f"/v1/jobs/{job}").raise_for_status().json()["progress"].get("step") or 0)

    while step() < 20:
        time.sleep(0.1)
    began, first = time.monotonic(), step()
    time.sleep(seconds)
    return (step() - first) * float(LONG["batch_size"]) / (time.monotonic() - began)  # type: ignore[arg-type]


async def open_loop(
    url: str, headers: dict[str, str], row: bytes, rate: float, seconds: float
) -> list[float]:
    """Latencies in seconds of requests that are due every `1 / rate` seconds."""
    latencies: list[float] = []

    async def ask(client: httpx.AsyncClient, due: float) -> None:
        answer = await client.post("/v1/models/served/encode", content=row)
        assert answer.status_code == 200, answer.text
        latencies.append(asyncio.get_running_loop().time() - due)

    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as client,
        asyncio.TaskGroup() as requests,
    ):
        began = asyncio.get_running_loop().time()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            requests.create_task(ask(client, due))
    return latencies


def measure(seconds: float, rate: float, folder: Path) -> dict[str, Any]:
    """Training alone, both together, serving alone."""
    with house(folder) as (client, _):
        body = io.BytesIO()
        np.save(body, np.random.default_rng(0).random(ROWS, np.float32))
        npy = {"Content-Type": "application/x-npy"}
        answer = client.post("/v1/datasets?name=rows", content=body.getvalue(), headers=npy)
        dataset = answer.raise_for_status().json()
        words = {"dataset": dataset["id"], "architecture": WIDTHS, "code": 30, "init": "he_normal"}
        trained(client, **words, model="served", training=SHORT)
        row = np.random.default_rng(0).random((1, ROWS[1]), np.float32).tobytes()
        headers = dict(client.headers) | {"Content-Type": "application/octet-stream"}

        def serve() -> list[float]:
            return asyncio.run(open_loop(str(client.base_url), headers, row, rate, seconds))

        serve()
        alone = serve()
        job = client.post("/v1/jobs", json={**words, "model": "long", "training": LONG}).raise_for_status()
        number = job.json()["id"]
        idle = samples_per_second(client, number, seconds)
        together: list[float] = []
        thread = threading.Thread(target=lambda: together.extend(serve()))
        thread.start()
        beside = samples_per_second(client, number, seconds * 0.9)
        thread.join()
        client.post(f"/v1/jobs/{number}/cancel").raise_for_status()
    return {
        "training_samples_per_second": {"alone": round(idle), "beside": round(beside)},
        "training_kept": round(beside / idle, 3),
        "latency_ms": {"alone": quantiles(alone), "beside": quantiles(together)},
    }


def quantiles(latencies: list[float]) -> dict[str, float]:
    """Median, 99th percentile and the worst, in milliseconds."""
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "requests": len(latencies),
        "p50": round(1e3 * cuts[49], 2),
        "p99": round(1e3 * cuts[98], 2),
        "worst": round(1e3 * max(latencies), 2),
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        found = measure(asked.seconds, asked.rate, Path(folder))
    report = {**circumstances(1), "seconds": asked.seconds, "requests_per_second": asked.rate, **found}
    (RESULTS / "beside-training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
