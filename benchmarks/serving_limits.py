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

HERE = Path(__file__).resolve().parent
SECONDS = 1.5


def limits(rivals: Path, encoder: Path, bodies: Path, rows: Sequence[int], workers: int) -> dict[str, Any]:
    """Batches a second, one engine thread each: in one process, and in as many at once as there are workers.

    Rows are parsed by simdjson, as the rivals do it, and by Hourglass's own reader.

    Args:
        rivals: their virtual environment.
        encoder: the ONNX file.
        bodies: a folder with `{rows}.json`.
        rows: how many a batch has.
        workers: processes at once.
    """
    found: dict[str, Any] = {}
    for busy, count in (("one", 1), ("together", workers)):
        simdjson = [str(rivals / "bin" / "python"), __file__, "simdjson", str(bodies), *map(str, rows)]
        theirs = _added(_in_processes(simdjson, encoder, count))
        ours = _added(_in_processes([sys.executable, __file__, "own", *simdjson[3:]], encoder, count))
        found[busy] = {
            size: figures | {"own_parse_and_forward_per_second": ours[size]["parse_and_forward_per_second"]}
            for size, figures in theirs.items()
        }
    return found


def _in_processes(command: list[str], encoder: Path, count: int) -> list[dict[str, Any]]:
    environment = os.environ | {"ENCODER": str(encoder), "ENGINE_THREADS": "1"}
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
    sys.path[:0] = [str(HERE / "rivals"), str(HERE.parent)]
    from encoder import WIDTH, Encoder

    if sys.argv[1] == "own":
        from service.serving.codecs import JSON, Expected, decode

        expected = Expected(WIDTH, (WIDTH,))

        def parse(body: bytes) -> Any:
            return decode(body, JSON, expected).rows
    else:
        from simdjson_rows import parse

    encoder, found = Encoder(), {}
    for rows in map(int, sys.argv[3:]):
        body = Path(sys.argv[2], f"{rows}.json").read_bytes()
        batch = parse(body)
        found[str(rows)] = {
            "forward_per_second": _per_second(lambda batch=batch: encoder(batch)),
            "parse_and_forward_per_second": _per_second(lambda body=body: encoder(parse(body))),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
