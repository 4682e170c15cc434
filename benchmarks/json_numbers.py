"""Reading rows of JSON numbers: Hourglass, simdjson and orjson in turn, 64 rows of 784.

    python benchmarks/json_numbers.py [--rivals .rivals] [--rounds 15]

Each reads the same bodies to float32 [64, 784]: float32 and doubles at their shortest, whole numbers, two
decimals, small numbers with exponents. The rivals run in their own virtual environment, that of
`serving.py`, and take turns with Hourglass body by body. Prints and records nanoseconds a number and ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import orjson

HERE = Path(__file__).resolve().parent
ROWS, WIDTH = 64, 784
SECONDS = 0.1
RIVALS = ("simdjson", "orjson")


def bodies() -> dict[str, bytes]:
    """What callers send, by what kind of numbers it holds."""
    rng = np.random.default_rng(0)
    normal, pixels = rng.standard_normal((ROWS, WIDTH)), rng.integers(0, 256, (ROWS, WIDTH))
    arrays = {
        "float32 from 0 to 1": rng.random((ROWS, WIDTH), dtype=np.float32),
        "float32, normal": normal.astype(np.float32),
        "double, normal": normal,
        "bytes": pixels,
        "bytes over 255, double": pixels / 255,
        "two decimals": np.round(normal * 100, 2),
        "double, of 1e-6": normal * 1e-6,
    }
    written = {
        name: orjson.dumps({"inputs": array}, option=orjson.OPT_SERIALIZE_NUMPY)
        for name, array in arrays.items()
    }
    return written | {"double, normal, spaced": json.dumps({"inputs": normal.tolist()}).encode()}


def reader(name: str) -> Callable[[bytes], np.ndarray]:
    """A body to float32 rows."""
    if name == "hourglass":
        from service.serving.codecs import JSON, Expected, decode

        expected = Expected(WIDTH, (WIDTH,))
        return lambda body: decode(body, JSON, expected).rows
    if name == "orjson":
        return lambda body: np.array(orjson.loads(body)["inputs"], np.float32)
    sys.path.insert(0, str(HERE / "rivals"))
    from simdjson_rows import parse

    return parse


def answer_questions(name: str) -> None:
    """In a process of its own: for each path on a line, the nanoseconds that a number takes."""
    read = reader(name)
    for line in sys.stdin:
        body = Path(line.strip()).read_bytes()
        rows = read(body)
        began, times = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            read(body)
            times += 1
        seconds = (time.perf_counter() - began) / times
        print(
            json.dumps([seconds * 1e9 / rows.size, float(np.abs(rows.astype(np.float64)).sum())]), flush=True
        )


@contextmanager
def asked(python: str, name: str) -> Iterator[Callable[[Path], tuple[float, float]]]:
    """What a reader takes for the body in a file, and a sum of what it read."""
    process = subprocess.Popen(
        [python, __file__, "--reader", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(path: Path) -> tuple[float, float]:
        print(path, file=process.stdin, flush=True)
        nanoseconds, total = json.loads(process.stdout.readline())
        return nanoseconds, total

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait()


def measure(rivals: Path, rounds: int) -> dict[str, Any]:
    """By kind of numbers: medians of nanoseconds a number, and of each round's ratio to Hourglass."""
    found: dict[str, Any] = {}
    python = str(rivals / "bin" / "python")
    with (
        tempfile.TemporaryDirectory() as folder,
        asked(sys.executable, "hourglass") as ours,
        asked(python, "simdjson") as simdjson,
        asked(python, "orjson") as by_orjson,
    ):
        for kind, body in bodies().items():
            path = Path(folder, "body.json")
            path.write_bytes(body)
            turns = [[ask(path) for ask in (ours, simdjson, by_orjson)] for _ in range(rounds)]
            assert len({round(total, 3) for turn in turns for _, total in turn}) == 1, f"{kind}: others read"
            took = [[nanoseconds for nanoseconds, _ in turn] for turn in turns]
            names = ("hourglass", *RIVALS)
            found[kind] = {
                "bytes_a_number": round(len(body) / (ROWS * WIDTH), 1),
                "nanoseconds_a_number": {
                    name: round(statistics.median(turn[place] for turn in took), 1)
                    for place, name in enumerate(names)
                },
                "times_as_long": {
                    name: round(statistics.median(turn[place] / turn[0] for turn in took), 2)
                    for place, name in enumerate(names[1:], 1)
                },
            }
    return found


def main() -> None:
    """Measure, record and print; with `--reader` be one of those that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", type=Path, default=HERE.parent / ".rivals")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reader:
        answer_questions(given.reader)
        return
    from benchmarks.records import RESULTS, circumstances

    report = {**circumstances(1), "rounds": given.rounds, "kinds": measure(given.rivals, given.rounds)}
    (RESULTS / "json-numbers.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["kinds"], indent=1))


if __name__ == "__main__":
    main()
