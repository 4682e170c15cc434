"""The composed system put to the test: a job, a worker container killed in mid-job, down and up.

python deploy/story.py      needs Docker with Compose; removes the containers and volumes that it made

It prints what it saw, as recorded in docs/compose.md.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
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


def story() -> None:
    """The story, line by line."""
    refused = compose("up", "-d", environment={**ENVIRONMENT, "HOURGLASS_ADMIN_KEY": ""})
    say(f"without a key: exit {refused.returncode}, {refused.stderr.strip().splitlines()[-1][-140:]}")
    up()
    say("composed: gateway, worker, redis, postgres are healthy")
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
