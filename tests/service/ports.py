"""An app on a port, as uvicorn serves it, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from service.app import Application


@contextmanager
def served(app: Application, **config: Any) -> Iterator[tuple[int, uvicorn.Server]]:
    """The port and the server, once it has started; ended and joined afterwards."""
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, loop="uvloop", log_config=None, **config))
    thread = threading.Thread(target=server.run, args=([door],), name="gateway")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the gateway did not start"
            time.sleep(0.01)
        yield door.getsockname()[1], server
    finally:
        server.should_exit = True
        thread.join()
        door.close()
