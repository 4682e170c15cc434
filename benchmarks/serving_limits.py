"""The work alone: forward passes, and parsing with them, without a server around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SECONDS = 1.5


def limits(encoder: Path, bodies: Path, rows: Sequence[int], workers: int) -> dict[str, Any]:
    """Batches a second, one engine thread each: in one process, and in as many at once as there are workers.

    Args:
        encoder: the ONNX file.
        bodies: a folder with `{rows}.json`.
        rows: how many a batch has.
        workers: processes at once.
    """
    return {
        "one": _added(_in_processes(encoder, bodies, rows, 1)),
        "together": _added(_in_processes(encoder, bodies, rows, workers)),
    }


def _in_processes(encoder: Path, bodies: Path, rows: Sequence[int], count: int) -> list[dict[str, Any]]:
    environment = os.environ | {
        "ENCODER": str(encoder),
        "ENGINE_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent / "rivals"),
    }
    command = [sys.executable, __file__, str(bodies), *map(str, rows)]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(count)]
    return [json.loads(process.communicate()[0]) for process in started]


def _added(processes: list[dict[str, Any]]) -> dict[str, Any]:
    first = processes[0]
    return {
        rows: {name: round(sum(one[rows][name] for one in processes), 2) for name in figures}
        for rows, figures in first.items()
    }


def _per_second(work: Callable[[], object]) -> float:
    work()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        work()
        done += 1
    return done / (time.perf_counter() - began)


def main() -> None:
    """In a process of its own: print the figures of each batch size as JSON."""
    from encoder import Encoder, parse

    encoder, found = Encoder(), {}
    for rows in map(int, sys.argv[2:]):
        body = Path(sys.argv[1], f"{rows}.json").read_bytes()
        batch = parse(body)
        found[str(rows)] = {
            "forward_per_second": _per_second(lambda batch=batch: encoder(batch)),
            "parse_and_forward_per_second": _per_second(lambda body=body: encoder(parse(body))),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
