"""A whole house in processes of its own, as a person would start it, seen and hurt only from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

ROOT = Path(__file__).parents[2]
T = TypeVar("T")

QUICK: Mapping[str, str] = {
    "HOURGLASS_LEASE_SECONDS": "5",
    "HOURGLASS_BEAT_SECONDS": "0.5",
    "HOURGLASS_CARETAKER_SECONDS": "0.5",
    "HOURGLASS_HINT_SECONDS": "3",
    "HOURGLASS_CHECKPOINT_SECONDS": "0",
    "HOURGLASS_THREADS": "1",
    "HOURGLASS_INFERENCE_THREADS": "1",
}
"""Settings by which a lost worker is noticed in seconds, so that tests need not wait for half a minute."""


def eventually(ask: Callable[[], T | None], what: str, *, seconds: float = 60.0) -> T:
    """Ask until the answer is true; the deadline is for a machine that is busy with other things."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.05)
    return answer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without its settings, and the project on the path from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("HOURGLASS_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


def hourglass(
    *words: str, cwd: Path, seconds: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One `hourglass` command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@dataclass(frozen=True)
class Event:
    """One event of a job, as it came over the wire."""

    number: int
    kind: str
    data: dict[str, Any]


class House:
    """`hourglass up` on a folder, and a client that speaks to it."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / f"{home.name}.log"
        self._environment = {
            **QUICK,
            "HOURGLASS_HOME": str(home),
            "HOURGLASS_PORT": str(self.port),
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def start(self) -> None:
        """Start it without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"],
                cwd=self.home.parent,
                env=clean_environment(**self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def open(self) -> House:
        """Start it and wait until it is open, its worker too."""
        self.start()
        try:
            eventually(self.is_ready, "the house to open", seconds=100)
            eventually(self.workers, "a worker", seconds=60)
        except BaseException as error:
            error.add_note(self.tail())
            self.destroy()
            raise
        return self

    def __enter__(self) -> House:
        return self.open()

    def __exit__(self, *_: object) -> None:
        try:
            assert self.close() == 0, self.tail()
        finally:
            self.destroy()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def close(self) -> int:
        """End it as Ctrl-C does; its exit code. Whatever it leaves behind is a failure."""
        self.signal(signal.SIGINT)
        code = self.wait()
        left = self.processes()
        assert not left, f"left behind: {left}\n{self.tail()}"
        return code

    def destroy(self) -> None:
        """Leave nothing of it, however the test ended."""
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send the parent a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """The parent's exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(seconds)

    def processes(self) -> list[psutil.Process]:
        """Every living process of this house, found by the home in its environment, or by where it runs."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def process(self, *words: str) -> psutil.Process:
        """The one process of this house whose command line has all these words."""
        found = [each for each in self.processes() if all(word in each.cmdline() for word in words)]
        assert len(found) == 1, f"{words}: {found}"
        return found[0]

    def gateway(self) -> psutil.Process:
        return self.process("cli.main", "serve")

    def worker(self) -> psutil.Process:
        return self.process("cli.main", "work")

    def broker(self) -> psutil.Process:
        [found] = [
            each for each in self.processes() if Path(each.exe()).name in ("valkey-server", "redis-server")
        ]
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # The broker writes its title over its environment, but runs in its folder.
            environment: dict[str, str] = process.environ()
            return environment.get("HOURGLASS_HOME") == str(self.home) or process.cwd() == str(
                self.home / "broker"
            )
        except psutil.Error:
            return False

    def tail(self) -> str:
        """The end of what it said on its terminal."""
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def is_ready(self) -> bool:
        return self.parts() is not None

    def parts(self) -> dict[str, Any] | None:
        """What `/health/ready` says of each part, once it answers 200."""
        try:
            said = self.client.get("/health/ready")
        except httpx.TransportError:
            return None
        return dict(said.json()["parts"]) if said.status_code == 200 else None

    def workers(self) -> list[dict[str, Any]]:
        return list(self.get("/v1/workers")["items"])

    def get(self, path: str) -> Any:
        """A resource; a gateway that is being started again is asked once more."""

        def ask() -> httpx.Response | None:
            try:
                return self.client.get(path)
            except httpx.TransportError:
                return None

        said = eventually(ask, f"an answer to GET {path}")
        assert said.status_code == 200, said.text
        return said.json()

    def submit(self, **words: Any) -> str:
        """Submit a job from a plain start, unless the words name another; its id."""
        body = {"dataset": "digits", "code": 4, "init": "he_normal", **words}
        said = self.client.post("/v1/jobs", json=body)
        assert said.status_code == 202, said.text
        assert said.headers["location"].endswith(said.json()["id"])
        return str(said.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/jobs/{job}"))

    def finished(self, job: str, *, seconds: float = 120.0) -> dict[str, Any]:
        """The job, once it is over."""
        over = ("succeeded", "failed", "cancelled")
        return eventually(
            lambda: found if (found := self.job(job))["state"] in over else None,
            f"{job} to end: {self.job(job)}",
            seconds=seconds,
        )

    def in_mid_training(self, job: str, *, epochs: int = 2) -> dict[str, Any]:
        """The job, once it runs and some epochs are over."""

        def ask() -> dict[str, Any] | None:
            found = self.job(job)
            assert found["state"] in ("queued", "running"), found
            return found if found["state"] == "running" and found["progress"]["epoch"] >= epochs else None

        return eventually(ask, f"{job} to train")

    def events(self, job: str, *, after: int | None = None) -> Generator[Event]:
        """The job's event stream, until the server ends it or the caller leaves."""
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        with self.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers, timeout=60) as stream:
            assert stream.status_code == 200, stream.status_code
            fields: dict[str, str] = {}
            for line in stream.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.strip()
                elif "id" in fields:
                    yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                    fields = {}
                else:
                    fields = {}
