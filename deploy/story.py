"""The composed system put to the test: a job, a worker killed in mid-job, three gateways, down and up.

python deploy/story.py      needs Docker with Compose; removes the containers and volumes that it made

It prints what it saw, as recorded in docs/compose.md.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMPOSE = ["docker", "compose"] if shutil.which("docker-compose") is None else ["docker-compose"]
PROJECT = "hourglass-story"
PORT = "18000"
KEY = "hg_" + secrets.token_urlsafe(32)
ENVIRONMENT = {**os.environ, "HOURGLASS_ADMIN_KEY": KEY, "HOURGLASS_PORT": PORT}
SPEC = {
    "dataset": "digits",
    "code": 8,
    "architecture": {"name": "dense", "widths": [1024, 512, 256]},
    "init": "he_normal",
    "training": {"batch_size": 64, "early_stopping": None},
}


def say(line: str) -> None:
    """One line of the record, with the time since the start."""
    sys.stdout.write(f"[{time.monotonic() - STARTED:6.1f} s] {line}\n")
    sys.stdout.flush()


def compose(*words: str, environment: dict[str, str] = ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    """One compose command on this project."""
    command = [*COMPOSE, "-p", PROJECT, *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def call(path: str, body: object = None) -> Any:
    """One request to the composed gateway."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}", headers={"Authorization": f"Bearer {KEY}"}
    )
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait(what: str, condition: Callable[[], Any], seconds: float = 180) -> Any:
    """The condition's first true value; the story ends where it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(
        f"{what}: did not happen within {seconds:.0f} s\n{compose('logs', '--tail', '40').stdout}"
    )


def up(*words: str) -> None:
    """Start the composed system and wait until all its parts work."""
    outcome = compose("up", "-d", *words)
    if outcome.returncode:
        raise SystemExit(outcome.stderr)
    wait("ready", lambda: not any(call("/health/ready")["parts"].values()))


def finish(job: str) -> Any:
    """The job, once it is over."""
    over = ("succeeded", "failed", "cancelled")
    return wait(
        "the job's end", lambda: (found := call(f"/v1/jobs/{job}"))["state"] in over and found, seconds=600
    )


def train(model: str, epochs: int) -> str:
    """Submit a job and give its id."""
    spec = {**SPEC, "model": model, "training": {**SPEC["training"], "epochs": epochs}}  # type: ignore[dict-item]
    return str(call("/v1/jobs", spec)["id"])


def codes(model: str) -> Any:
    """Codes of two rows."""
    rows = [[0.5] * 64, [float(number % 2) for number in range(64)]]
    return call(f"/v1/models/{model}/encode", {"inputs": rows})["codes"]


class Crowd:
    """Clients that ask for codes without a pause, each over its own connection, and count what they get."""

    def __init__(self, model: str, clients: int = 8) -> None:
        self.model, self.answers = model, Counter[str]()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body = json.dumps({"inputs": [[0.5] * 64]})
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        door = http.client.HTTPConnection("127.0.0.1", int(PORT), timeout=30)
        while not self._over.is_set():
            try:
                door.request("POST", f"/v1/models/{self.model}/encode", body, headers)
                answer = door.getresponse()
                answer.read()
                self.answers[str(answer.status)] += 1
            except OSError as error:
                self.answers[type(error).__name__] += 1
                door.close()


def containers(service: str) -> list[str]:
    """The containers of a service that run."""
    return compose("ps", "-q", service).stdout.split()


def rows_of(container: str) -> float:
    """How many rows a gateway's container has encoded, as it says itself, past the proxy."""
    which = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    command = ["docker", "inspect", "-f", which, container]
    address = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with urllib.request.urlopen(f"http://{address}:8000/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("hourglass_inference_rows_total{"))


def follow(job: str) -> Iterator[tuple[float, str]]:
    """A job's events as they reach a client, and when."""
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v1/jobs/{job}/events", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as stream:
        for line in stream:
            if line.startswith(b"event:"):
                yield time.monotonic(), line.decode().removeprefix("event:").strip()


def upload(megabytes: int) -> tuple[int, float]:
    """Send rows of zeros as they come; the dataset's rows, and the seconds until the answer."""
    rows = megabytes * 1_000_000 // 64
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, 64), }}".ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    door = http.client.HTTPConnection("127.0.0.1", int(PORT), timeout=600)
    began = time.monotonic()
    door.putrequest("POST", "/v1/datasets?name=zeros")
    door.putheader("Authorization", f"Bearer {KEY}")
    door.putheader("Content-Type", "application/x-npy")
    door.putheader("Content-Length", str(len(start) + rows * 64))
    door.endheaders(start)
    for left in range(rows * 64, 0, -1_000_000):
        door.send(bytes(min(left, 1_000_000)))
    return json.load(door.getresponse())["rows"], time.monotonic() - began


def scaled_out(model: str) -> None:
    """Three gateways behind the proxy: who answers, what one that ends costs, events and an upload."""
    up("--scale", "gateway=3")
    gateways = wait("three gateways", lambda: len(found := containers("gateway")) == 3 and found)
    with Crowd(model) as crowd:
        wait("answers of each", lambda: all(rows_of(each) > 100 for each in gateways))
        subprocess.run(["docker", "stop", gateways[0]], check=True, capture_output=True)
        time.sleep(3)
    say(f"three gateways, one of them stopped under eight clients: {dict(crowd.answers)}")
    up("--scale", "gateway=3")
    with Crowd(model) as crowd:
        time.sleep(3)
        subprocess.run(["docker", "kill", containers("gateway")[1]], check=True, capture_output=True)
        time.sleep(3)
    say(f"another one killed: {dict(crowd.answers)}")
    job = train("watched", 100_000)
    events = follow(job)
    next(kind for _, kind in events if kind == "epoch")
    asked = time.monotonic()
    call(f"/v1/jobs/{job}/cancel", {})
    seen = next(at for at, kind in events if kind == "done")
    say(f"through the proxy a cancel is an event after {seen - asked:.1f} s")
    rows, seconds = upload(300)
    say(f"and an upload of 300 MB ({rows:,} rows) is a dataset after {seconds:.0f} s")


def story() -> None:
    """The story, line by line."""
    refused = compose("up", "-d", environment={**ENVIRONMENT, "HOURGLASS_ADMIN_KEY": ""})
    say(f"without a key: exit {refused.returncode}, {refused.stderr.strip().splitlines()[-1][-140:]}")
    up()
    say("composed: proxy, gateway, worker, redis, postgres are healthy")
    done = finish(train("plain", 20))
    say(f"a job: {done['state']}, error {done['metrics']['error']:.3f}, PCA {done['baselines']['pca']:.3f}")
    undisturbed = finish(train("undisturbed", 120))
    job = train("killed", 120)
    wait(
        "a checkpoint",
        lambda: any(e["type"] == "checkpoint" for e in call(f"/v1/jobs/{job}/events?limit=1000")["items"]),
    )
    step = call(f"/v1/jobs/{job}")["progress"]["step"]
    container = compose("ps", "-q", "worker").stdout.split()[0]
    subprocess.run(["docker", "kill", "-s", "KILL", container], check=True, capture_output=True)
    say(f"killed the worker's container at step {step}")
    compose("up", "-d", "worker")
    killed = finish(job)
    same = [call(f"/v1/models/{name}")["weights_sha256"] for name in ("undisturbed", "killed")]
    say(f"the job: {killed['state']} after {killed['attempts']} attempts")
    say(f"its weights equal an undisturbed run's: {same[0] == same[1]}")
    assert undisturbed["state"] == killed["state"] == "succeeded"
    scaled_out("killed")
    before = codes("killed")
    compose("down")
    up()
    say(f"after down and up the model answers, the same codes: {codes('killed') == before}")
    sizes = subprocess.run(
        ["docker", "images", "--format", "{{.Repository}} {{.Size}}"],
        check=True,
        capture_output=True,
        text=True,
    )
    say("images: " + ", ".join(line for line in sizes.stdout.splitlines() if line.startswith("hourglass-")))


if __name__ == "__main__":
    STARTED = time.monotonic()
    try:
        story()
    finally:
        compose("down", "-v")
