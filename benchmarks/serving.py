"""Encoding over HTTP: Hourglass, rivals and limits, in one run on the same cores with the same client.

    python benchmarks/serving.py --rivals .rivals [--rounds 3] [--seconds 4] [--only hourglass noop]

The work is the encoder 784-1000-500-250-30, float32. Bodies hold 1, 64 or 1024 rows, over 1 or 32
connections, as JSON (shortest decimals) or raw float32. Every server has two workers with one engine thread
each, and ONNX Runtime; each rival has its own batching on. The client is `wrk`, one thread. Hourglass runs as
it is deployed: a key is checked, metrics are counted, limits hold. `--rivals` names a folder for the rivals'
own virtual environment, made there from `rivals/requirements.txt` when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import orjson
import psutil

from benchmarks.records import RESULTS, circumstances
from benchmarks.serving_limits import limits
from benchmarks.serving_servers import WIDTH, Server, running, servers

HERE = Path(__file__).resolve().parent
ROWS, CONNECTIONS = (1, 64, 1024), (1, 32)
# Before a cell is measured: a server's memory grows when other bodies come, which is over in a moment.
WARM_SECONDS = 1.0
# Nor is one measured while a server still works for those who left: of all cores less than this is busy then.
IDLE_PERCENT, MOST_IDLING_SECONDS = 15, 6
# The client does not count what is still under way at the end: of many large bodies at once that is a third
# of all in a few seconds, and answers of a server that batches them come by the dozen.
MANY_ROWS, LONGER = 10_000, 4
SPEC = {
    "architecture": {"name": "dense", "widths": [1000, 500, 250], "code": 30, "activation": "leaky_relu"},
    "init": "he_normal",
    "training": {"epochs": 1, "batch_size": 200, "early_stopping": None},
}
# Prints what wrk measured as one line of JSON.
SCRIPT = """
wrk.method = "POST"
local file = io.open(os.getenv("BODY_FILE"), "rb")
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = os.getenv("BODY_TYPE")
if os.getenv("BODY_ACCEPT") ~= "" then wrk.headers["Accept"] = os.getenv("BODY_ACCEPT") end
if os.getenv("BODY_KEY") ~= "" then wrk.headers["Authorization"] = "Bearer " .. os.getenv("BODY_KEY") end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def prepare(scratch: Path) -> tuple[Path, Path]:
    """A trained bundle, and a home into which it was imported."""
    bundle, home = scratch / "encoder", scratch / "home"
    rows = np.random.default_rng(0).random((2000, WIDTH), dtype=np.float32)
    np.save(scratch / "rows.npy", rows)
    (scratch / "spec.json").write_text(json.dumps(SPEC))
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "HOURGLASS_HOME": str(home)}
    hourglass = [sys.executable, "-m", "cli.main"]
    train = ["train", str(scratch / "spec.json"), str(scratch / "rows.npy"), "--out", str(bundle)]
    subprocess.run([*hourglass, *train], env=environment, check=True, stdout=sys.stderr)
    for words in (["migrate"], ["import", str(bundle), "--name", "encoder"]):
        subprocess.run([*hourglass, *words], env=environment, check=True, stdout=sys.stderr)
    return bundle, home


def write_bodies(folder: Path) -> None:
    """The bodies `{rows}.json` and `{rows}.raw`."""
    rng = np.random.default_rng(1)
    for count in ROWS:
        rows = rng.random((count, WIDTH), dtype=np.float32)
        (folder / f"{count}.raw").write_bytes(rows.astype("<f4").tobytes())
        (folder / f"{count}.json").write_bytes(
            orjson.dumps({"inputs": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
        )


def drive(
    server: Server, port: int, cell: tuple[str, int, int], seconds: float, folder: Path
) -> dict[str, Any]:
    """One cell (body, rows, connections): wrk's figures, with answers per second."""
    body, rows, connections = cell
    raw = body == "raw"
    environment = os.environ | {
        "BODY_FILE": str(folder / f"{rows}.{body}"),
        "BODY_TYPE": "application/octet-stream" if raw else "application/json",
        "BODY_ACCEPT": "application/octet-stream" if raw and server.key else "",
        "BODY_KEY": server.key,
    }
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "60s",
        "-s", str(folder / "wrk.lua"), f"http://127.0.0.1:{port}{server.path}",
    ]  # fmt: skip
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return {**found, "per_second": (found["requests"] - found["failed"]) / found["seconds"]}


def wait_until_idle() -> None:
    """Let what was begun come to its end."""
    until = time.monotonic() + MOST_IDLING_SECONDS
    while psutil.cpu_percent(0.25) > IDLE_PERCENT and time.monotonic() < until:
        pass


def measure(known: dict[str, Server], asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Every cell of every server, round by round; the median of the rounds."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for number in range(asked.rounds):
        for name, server in known.items():
            with running(server, asked.workers, scratch / f"{name}.log") as port:
                for body in server.bodies:
                    for rows in ROWS:
                        for connections in CONNECTIONS:
                            cell = f"{name}/{body}/{rows}/{connections}"
                            drive(server, port, (body, rows, connections), WARM_SECONDS, scratch)
                            wait_until_idle()
                            seconds = asked.seconds * (LONGER if rows * connections > MANY_ROWS else 1)
                            found = drive(server, port, (body, rows, connections), seconds, scratch)
                            cells.setdefault(cell, []).append(found)
                            print(f"round {number + 1} {cell}: {found['per_second']:.1f}/s", flush=True)
    return {
        cell: {
            "per_second": round(statistics.median(one["per_second"] for one in found), 2),
            "rounds": [round(one["per_second"], 2) for one in found],
            "p50_ms": round(statistics.median(one["p50_ms"] for one in found), 3),
            "p99_ms": round(statistics.median(one["p99_ms"] for one in found), 3),
            "failed": sum(one["failed"] for one in found),
        }
        for cell, found in cells.items()
    }


def compare(cells: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    """Hourglass over each rival (None: it gave no answer), the bare server and the work alone, by cell."""
    found: dict[str, Any] = {}
    for cell, own in cells.items():
        name, body, rows, connections = cell.split("/")
        if name != "hourglass":
            continue
        rest = f"{body}/{rows}/{connections}"
        rivals = {
            other.split("/")[0]: figures["per_second"]
            for other, figures in cells.items()
            if other.partition("/")[2] == rest and other.split("/")[0] not in ("hourglass", "noop")
        }
        row: dict[str, Any] = {
            "per_second": own["per_second"],
            "over": {
                rival: round(own["per_second"] / value, 2) if value else None
                for rival, value in rivals.items()
            },
        }
        if f"noop/{rest}" in cells:
            row["of_noop"] = round(own["per_second"] / cells[f"noop/{rest}"]["per_second"], 3)
        row |= against_the_work(own["per_second"], body, rows, connections, alone)
        found[rest] = row
    return found


def against_the_work(
    per_second: float, body: str, rows: str, connections: str, alone: dict[str, Any]
) -> dict[str, Any]:
    """The share of what the work alone allows, with the engine threads that can be busy at once."""
    limit = alone["together" if int(connections) > 1 else "one"][rows]
    names = ("parse_and_forward", "own_parse_and_forward") if body == "json" else ("forward",)
    return {f"of_{name}": round(per_second / limit[f"{name}_per_second"], 3) for name in names}


def main() -> None:
    """Prepare, measure, record and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", type=Path, default=HERE.parent / ".rivals")
    parser.add_argument("--only", nargs="+", help="names of servers; all if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", type=Path, default=RESULTS / "serving.json")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("the client is wrk: install it (Debian: apt-get install wrk)")
    if not (asked.rivals / "bin").exists():
        subprocess.run([sys.executable, "-m", "venv", str(asked.rivals)], check=True)
        requirements = str(HERE / "rivals" / "requirements.txt")
        subprocess.run([asked.rivals / "bin" / "pip", "install", "-q", "-r", requirements], check=True)
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        scratch = Path(folder)
        write_bodies(scratch)
        (scratch / "wrk.lua").write_text(SCRIPT)
        bundle, home = prepare(scratch)
        known = servers(asked.rivals, home, bundle, asked.workers)
        known = {name: server for name, server in known.items() if not asked.only or name in asked.only}
        before = limits(asked.rivals, bundle / "encoder.onnx", scratch, ROWS, asked.workers)
        cells = measure(known, asked, scratch)
        after = limits(asked.rivals, bundle / "encoder.onnx", scratch, ROWS, asked.workers)
        alone = best_of(before, after)
        for log in scratch.glob("*.log"):
            print(f"{log.name}: {log.stat().st_size} bytes", file=sys.stderr)
    report = {
        **circumstances(1),
        "workers": asked.workers,
        "seconds_a_cell": asked.seconds,
        "comparison": compare(cells, alone),
        "alone": alone,
        "cells": cells,
    }
    asked.record.parent.mkdir(exist_ok=True)
    asked.record.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["comparison"], indent=1))


def best_of(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The higher of two measurements of the limits, taken before and after the servers."""
    return {
        busy: {
            rows: {name: max(value, after[busy][rows][name]) for name, value in figures.items()}
            for rows, figures in cells.items()
        }
        for busy, cells in before.items()
    }


if __name__ == "__main__":
    main()
