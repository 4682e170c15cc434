"""The servers that `serving.py` measures: how each is started, and when it is ready."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from benchmarks.house import free_port

HERE = Path(__file__).resolve().parent
WIDTH = 784
READY_SECONDS = 90


@dataclass(frozen=True)
class Server:
    """How a server is started, and what it takes.

    Attributes:
        command: started in `folder`; `{port}` and `{workers}` are filled in.
        bodies: "json", "raw" or both.
        path: where rows are sent.
    """

    command: list[str]
    bodies: tuple[str, ...]
    path: str
    folder: Path = HERE / "rivals"
    environment: dict[str, str] = field(default_factory=dict)
    key: str = ""


def servers(rivals: Path, home: Path, bundle: Path, workers: int) -> dict[str, Server]:
    """All that can be measured, by name."""
    python = str(rivals / "bin" / "python")
    shared = {"ENCODER": str(bundle / "encoder.onnx"), "ENGINE_THREADS": "1", "WORKERS": str(workers)}
    key = secrets.token_hex(16)
    own = {
        "HOURGLASS_HOME": str(home),
        "HOURGLASS_PORT": "{port}",
        "HOURGLASS_ADMIN_KEY": key,
        "HOURGLASS_INFERENCE_THREADS": "1",
        "PYTHONPATH": str(HERE.parent),
    }
    port, number = "{port}", "{workers}"
    return {
        "noop": Server([sys.executable, "noop.py", port, number], ("json", "raw"), "/encode"),
        "naive": Server([python, "naive.py", port, number], ("json",), "/encode", environment=shared),
        "litserve": Server(
            [python, "litserve_app.py", port, number], ("json",), "/encode", environment=shared
        ),
        "bentoml": Server(
            [python, "-m", "bentoml", "serve", "bentoml_app:Encode", "--port", port],
            ("json",), "/encode", environment=shared,
        ),
        "mosec": Server(
            [python, "mosec_app.py", "--port", port, "--timeout", "60000", "--max-body-size", "104857600"],
            ("json",), "/inference", environment=shared,
        ),
        "mosec-raw": Server(
            [python, "mosec_app.py", "--port", port, "--timeout", "60000", "--max-body-size", "104857600"],
            ("raw",), "/inference", environment={**shared, "BODY": "raw"},
        ),
        "hourglass": Server(
            [sys.executable, "-m", "cli.main", "serve", "--workers", number],
            ("json", "raw"), "/v1/models/encoder/encode", HERE.parent, own, key,
        ),
    }  # fmt: skip


@contextlib.contextmanager
def running(server: Server, workers: int, log: Path) -> Iterator[int]:
    """The server's port, once it answers a row."""
    port = free_port()

    def fill(text: str) -> str:
        return text.replace("{port}", str(port)).replace("{workers}", str(workers))

    environment = os.environ | {name: fill(value) for name, value in server.environment.items()}
    with log.open("a") as output:
        process = subprocess.Popen(
            [fill(word) for word in server.command], cwd=server.folder, env=environment,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_it_answers(server, port, process, log)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_it_answers(server: Server, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask with one row until an answer comes."""
    row = np.zeros((1, WIDTH), np.float32)
    if "json" in server.bodies:
        body, media = orjson.dumps({"inputs": row.tolist()}), "application/json"
    else:
        body, media = row.tobytes(), "application/octet-stream"
    headers = {"Content-Type": media, **({"Authorization": f"Bearer {server.key}"} if server.key else {})}
    ended = time.monotonic() + READY_SECONDS
    while time.monotonic() < ended:
        if process.poll() is not None:
            break
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{server.path}", data=body, headers=headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"no answer from {' '.join(server.command)}:\n{log.read_text()[-2000:]}")
