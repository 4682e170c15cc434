"""The whole house in one terminal: starts its processes, starts again what dies, ends all in order."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

from cli.curl import curl_lines
from cli.environment import Settings, private_folder
from cli.errors import REFUSED, Refused
from cli.locks import Held, LockFile
from cli.ports import listen
from cli.processes import end, kill_group, spawn
from cli.restarts import Restarts
from cli.valkey import GRACE_SECONDS as BROKER_SECONDS
from cli.valkey import Valkey
from store import migrate, socket_path

TICK_SECONDS = 0.1
OPENING_SECONDS = 120.0
GATEWAY_SECONDS = 10.0
WORKER_SECONDS = 12.0


class Part:
    """One process of the house.

    Args:
        name: as it is called in messages.
        launch: starts it and returns at once.
        grace_seconds: how long it may take to end when asked.
    """

    def __init__(
        self, name: str, launch: Callable[[], subprocess.Popen[bytes]], *, grace_seconds: float
    ) -> None:
        self.name, self._launch, self._grace_seconds = name, launch, grace_seconds
        self._restarts = Restarts(time.monotonic)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it.

        Raises:
            Refused: it cannot be started at all.
        """
        self.process = self._launch()
        self._restarts.started()

    @property
    def exit_code(self) -> int | None:
        """How it ended, if it did."""
        return None if self.process is None else self.process.poll()

    def tend(self) -> None:
        """Start it again when it has died and its time has come."""
        if self._restarts.waiting:
            if self._restarts.due:
                self._again()
        elif self.process is not None and (code := self.process.poll()) is not None:
            kill_group(self.process.pid)  # a gateway's or worker's own children go with it
            self._bury(_how(code))

    def end(self) -> None:
        """Ask it to end, and see to it."""
        if self.process is not None:
            end(self.process, grace_seconds=self._grace_seconds)
            self.process = None

    def _again(self) -> None:
        try:
            self.start()
        except (Refused, OSError) as error:
            self._bury(str(error))
        else:
            say(f"{self.name} is started again (process {self.process.pid if self.process else '?'})")

    def _bury(self, how: str) -> None:
        wait = self._restarts.died()
        say(f"{self.name} ended ({how}); starting it again {f'in {wait:.0f} s' if wait else 'now'}")
        if not wait:
            self._again()


class House:
    """Everything that `hourglass up` starts, on one data folder.

    Args:
        settings: of all processes, as read from the environment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.home = settings.store.home
        self._lock = LockFile(self.home / "up.lock")
        self._parts: list[Part] = []
        self._valkey: Valkey | None = None
        self._socket: socket.socket | None = None
        self._ending = 0

    def run(self) -> None:
        """Open the house and keep it until a signal ends it.

        Raises:
            Refused: the folder, the port or a setting does not allow it; nothing is left running.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked_to_end)
        try:
            self._open()
            while not self._ending:
                time.sleep(TICK_SECONDS)
                for part in self._parts:
                    part.tend()
        finally:
            self._close()

    def _open(self) -> None:
        self._take_folder()
        service = self._settings.service
        self._socket = listen(service.host, service.port)
        migrate(self._settings.store)
        environment = child_environment()
        if self._settings.store.broker_url is None:
            self._valkey = Valkey(self.home / "broker", socket_path(self.home))
            # Waited for here alone: started again later, it must not hold up the others.
            broker = Part(
                "broker", _first(self._valkey.start, self._valkey.launch), grace_seconds=BROKER_SECONDS
            )
            self._start(broker)
        command = [sys.executable, "-m", "cli.main"]
        parent = str(os.getpid())
        worker = [*command, "work", "--parent", parent]
        self._start(
            Part("worker", lambda: spawn(worker, environment=environment), grace_seconds=WORKER_SECONDS)
        )
        # The gateway inherits the open socket: while it is started again, callers wait and are not refused.
        door = self._socket.fileno()
        gateway = [*command, "serve", "--fd", str(door), "--parent", parent]
        self._start(
            Part(
                "gateway",
                lambda: spawn(gateway, environment=environment, pass_fds=[door]),
                grace_seconds=GATEWAY_SECONDS,
            )
        )
        self._wait_until_open()

    def _take_folder(self) -> None:
        private_folder(self.home)
        try:
            self._lock.acquire()
        except Held as held:
            raise Refused(
                f"{self.home} is already in use by `hourglass up`, process {held.pid}; "
                "end it, or set HOURGLASS_HOME to another folder"
            ) from None
        self._lock.write(os.getpid())

    def _start(self, part: Part) -> None:
        if not self._ending:
            part.start()
            self._parts.append(part)

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + OPENING_SECONDS
        while not self._ending and time.monotonic() < deadline:
            for part in self._parts:
                if part.exit_code == REFUSED:
                    raise Refused(f"the {part.name} refused to start; its line above says why")
                part.tend()
            if self._ready():
                say(self._welcome())
                return
            time.sleep(TICK_SECONDS)
        if not self._ending:
            say("the gateway is not ready yet; still trying")

    @property
    def address(self) -> tuple[str, int]:
        """Where a caller on this machine finds the gateway."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port

    def _ready(self) -> bool:
        host, port = self.address
        line = http.client.HTTPConnection(host, port, timeout=2)
        try:
            line.request("GET", "/health/ready")
            return line.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            line.close()

    def _welcome(self) -> str:
        host, port = self.address
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        parts = ", ".join(f"{part.name} {part.process.pid}" for part in self._parts if part.process)
        service_has_key = self._settings.service.admin_key is not None
        outside = "" if self._valkey else " (broker: the one of HOURGLASS_BROKER_URL)"
        return "\n".join(
            [
                f"the house is open at {url}",
                f"  data       {self.home}",
                f"  processes  {parts}{outside}",
                f"  reference  {url}/docs",
                "Try it:",
                *(f"  {line}" for line in curl_lines(url, key=service_has_key)),
                "Ctrl-C ends everything; what it holds is found again by the next `hourglass up`.",
            ]
        )

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending += 1
        if self._ending == 2:  # impatient: no more asking
            for part in self._parts:
                if part.process is not None:
                    kill_group(part.process.pid)

    def _close(self) -> None:
        if self._ending and self._parts:
            say("ending: gateway, worker, broker")
        for part in reversed(self._parts):
            part.end()
        if self._valkey is not None:
            self._valkey.stop()
        if self._socket is not None:
            self._socket.close()
        self._lock.release()


def child_environment() -> dict[str, str]:
    """What every child gets: ours, and threads that sleep instead of spinning when they have nothing to do.

    OpenMP's waiting threads burn whole cores; it reads this when torch is imported, hence here.
    """
    return {"GOMP_SPINCOUNT": "2000", **os.environ, "PYTHONUNBUFFERED": "1"}


def say(text: str) -> None:
    """One message of the roof itself, on the terminal that the children write to as well."""
    print(f"hourglass: {text}", flush=True)


def _first(
    first: Callable[[], subprocess.Popen[bytes]], later: Callable[[], subprocess.Popen[bytes]]
) -> Callable[[], subprocess.Popen[bytes]]:
    calls = iter([first])
    return lambda: next(calls, later)()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
