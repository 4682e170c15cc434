"""`hourglass serve`: the gateway, uvicorn in one process or in several on one port."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

from cli.environment import read_settings
from cli.ports import Port, listen

if TYPE_CHECKING:
    from fastapi import FastAPI

SHUTDOWN_SECONDS = 5
# A process that is starting on a busy machine has other things to do than to say so.
SILENCE_SECONDS = 30
SWITCH_SECONDS = 0.0005
YOUNG_OBJECTS = 20_000
KEPT_BYTES = 128 * 1024 * 1024
# The most that glibc lets come from the heap; what is larger is given back at once.
IN_THE_HEAP_BYTES = 32 * 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Longer than a proxy keeps an idle connection: one that closes here first may swallow its next request.
KEEP_ALIVE_SECONDS = 75


def serve(*, fd: int | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        fd: an open socket that the parent passed on; else the one that the settings name is opened.

    Raises:
        Refused: a setting or the port does not allow it.
    """
    keep_threads_quiet()
    import uvicorn

    settings = read_settings().service
    workers = settings.processes
    if fd is not None:
        door = socket.socket(fileno=fd)
    else:
        door = (listen if workers == 1 else Port)(settings.host, settings.port)
    config = uvicorn.Config(
        # One process builds its app here, where a refusal is a line; several build theirs each in their own.
        application() if workers == 1 else "cli.serve:application",
        factory=workers > 1,
        loop="uvloop",
        # By its name: a process of several imports it, and all that comes with it, once it can say that it is
        # there; those who are silent for too long are replaced.
        http="service.sending:Protocol",
        timeout_worker_healthcheck=SILENCE_SECONDS,
        workers=workers,
        log_config=None,
        access_log=False,
        server_header=False,
        # The application sees to it by itself, where it matters.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    # uvicorn raises the signal again once it has ended; that is an ordinary end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if workers > 1:
        from uvicorn.supervisors import Multiprocess

        door.set_inheritable(True)
        with tempfile.TemporaryDirectory(prefix="hourglass-metrics-") as folder:
            # The processes read their settings from the environment, each for itself.
            os.environ.setdefault("HOURGLASS_METRICS_FOLDER", folder)
            Multiprocess(config, sockets=[door]).run()
    else:
        uvicorn.Server(config).run(sockets=[door])


def keep_threads_quiet() -> None:
    """Say how threads of arithmetic wait, before the libraries that read it are imported."""
    # Threads that spin while they wait starve a training on the same cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # NumPy's would spin for milliseconds after each look through a large body, on cores that others need.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def application() -> FastAPI:
    """The gateway's app, by the settings of the environment.

    Raises:
        Refused: the settings do not allow it.
    """
    from service.app import create_app

    app = create_app(read_settings().service)
    _settle()
    return app


def _settle() -> None:
    """Set the interpreter up for many short answers."""
    # What is here now stays. Requests in flight are no rubbish either: looked through as often as Python
    # does by itself, they cost a sixth of an answer.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    # The engine's thread asks for the interpreter for microseconds; it must not wait for whole milliseconds.
    sys.setswitchinterval(SWITCH_SECONDS)
    keep_memory()


def keep_memory() -> None:
    """Have the C library keep what large bodies freed for the next ones, up to a limit.

    Given back and asked for again, each page of it is a fault of the processor, and the rows of one large
    body have hundreds.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc; others have neither the function nor the habit
        mallopt(_M_MMAP_THRESHOLD, IN_THE_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
