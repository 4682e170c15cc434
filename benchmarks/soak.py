"""Minutes of serving while everything moves: aliases, new versions, models that do not fit the cache.

    python benchmarks/soak.py [--minutes 10] [--connections 32]

Every answer names the version that made it, and is compared with that version's own bundle, opened here: an
answer is wrong where it is not what its version says, mixed where its rows are not one version's, and failed
where its status is not 200; what the first ones that failed said is kept. The gateway's memory is read every
five seconds, and what it logged as a warning or worse is counted, and shown at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import random
import statistics
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np
import psutil

from autoencoders import bundle
from autoencoders.data.samples import samples
from benchmarks.house import finished, house, trained
from benchmarks.records import RESULTS, circumstances

NAMES = ("first", "second")
VERSIONS = 3
JOB = {
    "dataset": "digits",
    "architecture": {"name": "dense", "widths": [128]},
    "init": "he_normal",
    "training": {"epochs": 1, "batch_size": 64, "early_stopping": None},
}
MOVE_SECONDS, ARRIVAL_SECONDS, LOOK_SECONDS = 0.3, 20.0, 5.0
CACHE_BYTES = "400000"
"""Room for some of the versions that are asked for, of about 150 kB each."""
FAILURES, EXCERPT = 5, 400
"""How many failed answers are kept, and so many characters of each."""
BAD_LEVELS = frozenset({"warning", "error", "critical"})
SHOWN_LINES = 20


def job(name: str, seed: int) -> dict[str, Any]:
    """A small training that gives the name its next version."""
    training = {**JOB["training"], "seed": seed}  # type: ignore[dict-item]
    return {**JOB, "model": name, "code": 8, "training": training}


class Watch:
    """What every version answers, and how the answers were.

    Args:
        client: of the house.
        rows: [n, features], those that are asked about.
        folder: for bundles.
    """

    def __init__(self, client: httpx.Client, rows: np.ndarray, folder: Path) -> None:
        self._client, self._folder, self.rows = client, folder, rows
        self._codes: dict[str, np.ndarray] = {}
        self.counts: Counter[str] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.versions: Counter[str] = Counter()

    def learn(self, version: str) -> None:
        """Open the version's bundle here and keep its codes."""
        archive = self._client.get(f"/v1/models/{version}/bundle").raise_for_status().content
        folder = self._folder / version
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(folder)
        self._codes[version] = bundle.load(folder).encode(self.rows)

    def judge(self, answer: httpx.Response, chosen: np.ndarray) -> None:
        """Count an answer to these rows."""
        if answer.status_code != 200:
            self.counts[f"failed {answer.status_code}"] += 1
            if len(self.failures) < FAILURES:
                said = {"status": answer.status_code, "path": answer.request.url.path}
                self.failures.append({**said, "body": answer.text[:EXCERPT]})
            return
        version = answer.headers["x-model"]
        if version not in self._codes:
            self.learn(version)
        codes, expected = np.load(io.BytesIO(answer.content)), self._codes[version][chosen]
        right = np.isclose(codes, expected, rtol=1e-5, atol=1e-5 * float(expected.std())).all(1)
        self.counts["right" if right.all() else "mixed" if right.any() else "wrong"] += 1
        self.versions[version] += 1


async def ask(url: str, headers: dict[str, str], watch: Watch, ended: float, seed: int) -> None:
    """One connection: any name in any form, any number of rows, until the end."""
    chance, rng = random.Random(seed), np.random.default_rng(seed)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        while time.monotonic() < ended:
            name = chance.choice(NAMES) + chance.choice(
                ["", "@live", *(f"@{n + 1}" for n in range(VERSIONS))]
            )
            chosen = rng.integers(0, len(watch.rows), chance.choice([1, 1, 1, 16, 200]))
            body = io.BytesIO()
            np.save(body, watch.rows[chosen])
            watch.judge(await client.post(f"/v1/models/{name}/encode", content=body.getvalue()), chosen)


def move(client: httpx.Client, ended: float) -> dict[str, int]:
    """Move aliases and bare names, and let versions arrive, until the end."""
    chance, moves, arrived, next_arrival = random.Random(0), 0, 0, time.monotonic()
    while time.monotonic() < ended:
        name, version = chance.choice(NAMES), {"version": chance.randint(1, VERSIONS)}
        client.put(f"/v1/models/{name}/aliases/live", json=version).raise_for_status()
        client.post(f"/v1/models/{name}/promote", json=version).raise_for_status()
        moves += 2
        if time.monotonic() > next_arrival and ended - time.monotonic() > 30:
            finished(client, client.post("/v1/jobs", json=job(name, 100 + arrived)).raise_for_status().json())
            arrived += 1
            next_arrival = time.monotonic() + ARRIVAL_SECONDS
        time.sleep(MOVE_SECONDS)
    return {"moves": moves, "versions_arrived": arrived}


async def memory(gateway: psutil.Process, ended: float) -> list[float]:
    """The gateway's resident memory in MiB, every five seconds."""
    found = []
    while time.monotonic() < ended:
        found.append(round(gateway.memory_info().rss / 2**20, 1))
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def run(client: httpx.Client, gateway: psutil.Process, watch: Watch, asked: argparse.Namespace) -> Any:
    """All of it at once."""
    ended = time.monotonic() + 60 * asked.minutes
    npy = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    headers, url = dict(client.headers) | npy, str(client.base_url)
    moved, looked, *_ = await asyncio.gather(
        asyncio.to_thread(move, client, ended),
        memory(gateway, ended),
        *(ask(url, headers, watch, ended, seed) for seed in range(asked.connections)),
    )
    return moved, looked


def gateway_of(main: psutil.Process) -> psutil.Process:
    """The gateway among a house's processes."""
    return next(child for child in main.children(recursive=True) if "serve" in child.cmdline())


def loads(client: httpx.Client) -> float:
    """How many times a model was read, by the gateway's own count."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("hourglass_model_loads_total"))


def troubles(log: Path) -> list[dict[str, Any]]:
    """The gateway's lines in a house's log, as JSON, that are a warning or worse."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # the house's own messages are plain words
            said = json.loads(line)
            if (
                isinstance(said, dict)
                and said.get("process") == "gateway"
                and said.get("level") in BAD_LEVELS
            ):
                found.append(said)
    return found


def main() -> None:
    """Run, record, and fail where an answer was not right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    asked = parser.parse_args()
    rows = samples.call(samples.choose("digits")).rows.reshape(-1, 64).astype(np.float32)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        house(Path(folder), model_cache_bytes=CACHE_BYTES, log_format="json") as (client, main_process),
    ):
        for name in NAMES:
            for version in range(VERSIONS):
                trained(client, **job(name, version))
            client.put(f"/v1/models/{name}/aliases/live", json={"version": 1}).raise_for_status()
        watch = Watch(client, rows, Path(folder) / "bundles")
        moved, looked = asyncio.run(run(client, gateway_of(main_process), watch, asked))
        read, logged = loads(client), troubles(Path(folder) / "house.log")
    third = max(1, len(looked) // 3)
    middle, last = (statistics.median(part) for part in (looked[third : 2 * third], looked[-third:]))
    report = {
        **circumstances(1),
        "answers": dict(watch.counts),
        "failures": watch.failures,
        "logged": dict(Counter(line["event"] for line in logged)),
        "versions_that_answered": len(watch.versions),
        **moved,
        "models_read": read,
        "memory_mib": looked,
        "memory_grew_mib": round(last - middle, 1),
    }
    (RESULTS / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "memory_mib"}, indent=1))
    for line in logged[:SHOWN_LINES]:
        print(f"{line.pop('level')}: {line.pop('event')}", line, sep="\n  ", file=sys.stderr)
    if set(watch.counts) != {"right"}:
        raise SystemExit("an answer was not right")


if __name__ == "__main__":
    main()
