"""`hourglass demo`: a model of real digits, trained and used over HTTP alone, that beats PCA."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cli.curl import curl_lines
from cli.environment import read_settings
from cli.errors import Refused
from cli.processes import end, spawn
from cli.scans import draw

MODEL = "digits-demo"
CODE = 8
JOB: Mapping[str, Any] = {
    "dataset": "digits",
    "model": MODEL,
    "code": CODE,
    "architecture": {"name": "dense", "widths": [256, 128, 64]},
    "objective": {"loss": "mse", "corruption": {"name": "gaussian", "std": 0.1}},
    "optimizer": {"name": "adam", "learning_rate": 0.002},
    "training": {"epochs": 100, "batch_size": 64, "early_stopping": None},
}
OPENING_SECONDS = 90.0
ENDING_SECONDS = 40.0
QUERIES = (12, 471, 1203)
PLACES = ("scan", "nearest", "second", "third")


def demo() -> None:
    """Run it against the house at HOURGLASS_HOST:HOURGLASS_PORT if one answers, else against one of its own.

    Raises:
        Refused: the house did not open, or a job failed.
    """
    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    settings = read_settings().service
    key = settings.admin_key.get_secret_value() if settings.admin_key else None
    usual = f"http://{settings.host}:{settings.port}"
    with contextlib.ExitStack() as stack:
        own = not _answers(usual)
        url = stack.enter_context(_own_house(console)) if own else usual
        if not own:
            console.print(f"Using the house that answers at {url}.")
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        client = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))
        job = _train(client, console)
        report = client.get(job["links"]["report"]).raise_for_status().json()
        for line in choice_lines(report["auto"]):
            console.print(line, markup=False)
        _print_errors(job, console)
        rows = _rows()
        _print_neighbours(rows, _codes(client, rows), console)
    _print_next(usual, own, rows[QUERIES[0]], key is not None, console)
    console.print(f"\n{time.monotonic() - started:.0f} seconds, all of it.")


@contextlib.contextmanager
def _own_house(console: Console) -> Iterator[str]:
    """A house on a folder that is removed with it; its log is shown if it does not open."""
    with tempfile.TemporaryDirectory(prefix="hourglass-demo-") as folder:
        log = Path(folder) / "log"
        url = f"http://127.0.0.1:{(port := _free_port())}"
        command = [sys.executable, "-m", "cli.main", "up", "--home", f"{folder}/home", "--port", str(port)]
        # What is set for the usual house, such as its database, is not this one's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOURGLASS_")}
        console.print("No house answers; opening one for this demo (gateway, worker and broker) …")
        with log.open("wb") as output:
            house = spawn(command, environment=environment, output=output)
        try:
            deadline = time.monotonic() + OPENING_SECONDS
            while not _answers(url, wholly=True):
                if house.poll() is not None or time.monotonic() > deadline:
                    raise Refused(f"the demo's own house did not open: {log.read_text()[-1500:]}")
                time.sleep(0.1)
            yield url
        finally:
            end(house, grace_seconds=ENDING_SECONDS)


def _train(client: httpx.Client, console: Console) -> dict[str, Any]:
    said = client.post("/v1/jobs", json=JOB)
    if said.status_code != 202:
        raise Refused(f"POST /v1/jobs answered {said.status_code}: {said.text[:500]}")
    job = said.json()
    console.print(
        f"Job {job['id']}: 1,797 real 8x8 scans of digits, a deep autoencoder 64-256-128-64-{CODE} and back."
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("waiting for a worker", total=JOB["training"]["epochs"], note="")
        for kind, data in _events(client, job["id"]):
            if kind == "state":
                progress.update(bar, description=str(data.get("state", "")))
            elif kind == "init" and "candidate" in (detail := data["detail"]):
                tried = f"choosing an init, {detail['phase']}: {detail['candidate']['init']['name']}"
                progress.update(bar, note=tried)
            elif kind == "epoch":
                progress.update(bar, completed=data["epoch"], note=f"held-out error {data['error']:.3f}")
    job = client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
    if job["state"] != "succeeded":
        raise Refused(f"the job ended as {job['state']}: {json.dumps(job.get('problem'))}")
    return dict(job)


def _events(client: httpx.Client, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The job's events as they happen, until the last one; taken up again where the line broke."""
    last: str | None = None
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with (
            contextlib.suppress(httpx.TransportError),
            client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as stream,
        ):
            if stream.status_code == 204:
                return
            stream.raise_for_status()
            for number, kind, data in parse_events(stream.iter_lines()):
                last = number
                yield kind, json.loads(data)
                if kind == "done":
                    return
        time.sleep(0.2)


def parse_events(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """Server-Sent Events as (id, type, data); keep-alives, which carry no id, are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "id" in fields and "data" in fields:
                yield fields["id"], fields.get("event", "message"), fields["data"]
            fields = {}


def choice_lines(found: Mapping[str, Any]) -> list[str]:
    """What the job's `auto` found, which names no init: every start that raced, the best first."""
    lines = ["", "The job names no init; the best few starts raced on its rows (held-out error):"]
    chosen = found["chosen"]
    for entry in found["candidates"]:
        if entry["error"] is not None:
            told = f"{entry['error']:6.3f} after {entry['rounds'][-1]['steps']} steps"
            lines.append(
                f"  {entry['init']['name']:24} {told}{'  chosen' if entry['init'] == chosen else ''}"
            )
    return lines


def _print_errors(job: Mapping[str, Any], console: Console) -> None:
    error, baselines = job["metrics"]["error"], job["baselines"]
    console.print("\nSquared error per held-out digit (rows that no training saw):")
    longest = max(baselines["mean"], baselines["pca"], error)
    for name, value in (
        ("predicting the mean", baselines["mean"]),
        (f"PCA, {CODE} components", baselines["pca"]),
        (f"this model, code of {CODE}", error),
    ):
        console.print(f"  {name:24} {value:6.3f}  {'#' * max(1, round(40 * value / longest))}")
    better = 1 - error / baselines["pca"]
    console.print(f"  It {'beats' if better > 0 else 'does not beat'} PCA by {abs(better):.0%}.")


def _rows() -> Any:
    """The digits as a client has them: its own file, here the one that ships with the house."""
    from autoencoders.data.samples import samples

    return samples.call(samples.choose("digits")).rows.reshape(-1, 64)


def _codes(client: httpx.Client, rows: Any) -> Any:
    import numpy as np

    body = io.BytesIO()
    np.save(body, rows)
    npy = "application/x-npy"
    answer = client.post(
        f"/v1/models/{MODEL}/encode", content=body.getvalue(), headers={"Content-Type": npy, "Accept": npy}
    ).raise_for_status()
    return np.load(io.BytesIO(answer.content), allow_pickle=False)


def _print_neighbours(rows: Any, codes: Any, console: Console) -> None:
    import numpy as np

    console.print(
        f"\nAll {len(rows):,} scans encoded over HTTP: {rows.shape[1]} numbers became {codes.shape[1]}."
    )
    console.print("A few of them, and the nearest others by their codes alone:\n")
    for query in QUERIES:
        distances = np.linalg.norm(codes - codes[query], axis=1)
        nearest = [int(row) for row in np.argsort(distances) if row != query][: len(PLACES) - 1]
        captions = [f"{name} #{row}" for name, row in zip(PLACES, (query, *nearest), strict=True)]
        scans = [rows[row].reshape(8, 8) for row in (query, *nearest)]
        console.print(draw(scans, captions=captions), markup=False)
        console.print()


def _print_next(url: str, own: bool, row: Any, key: bool, console: Console) -> None:
    if own:
        console.print(
            "The demo's house is closed and gone. The same by hand: `make up` in another terminal, then"
        )
    else:
        console.print("The same by hand:")
    for line in curl_lines(url, job=JOB, row=[float(number) for number in row], key=key):
        print(f"\n  {line}")  # not by rich, which would break it in the middle
    console.print("\nNext: `hourglass catalog` lists every word a job may use; your own table goes to")
    console.print(f"POST {url}/v1/datasets (`curl -F file=@table.csv`); the reference is at {url}/docs.")


def _answers(url: str, *, wholly: bool = False) -> bool:
    """Whether a house answers there; `wholly`, whether all of its parts work, a worker among them."""
    try:
        said = httpx.get(f"{url}/health/ready", timeout=2)
        parts = said.json()["parts"]
        return said.status_code == 200 and not (wholly and any(parts.values()))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
