"""Queue: the Celery app and its settings, and the hint that there is work for a device.

The database is the truth; a message is only a hint: lost, doubled or late, it harms nothing. So it is
acknowledged early, carries nothing, and is sent from a thread of its own: a dead broker neither delays nor
fails a request.
"""

from __future__ import annotations

import contextlib
import queue as waiting_line
import threading

import redis
from celery import Celery
from kombu import Queue as KombuQueue

from store import logs
from store.settings import StoreSettings

WAKE = "hourglass.wake"
DEVICES = ("cpu", "gpu")
_TIMEOUT_SECONDS = 2.0
_HINTS_WAITING = 1000

log = logs.get(__name__)


def make_celery(settings: StoreSettings) -> Celery:
    """The Celery app of either side: the gateway sends by name, the worker adds the task."""
    app = Celery("hourglass", broker=settings.broker, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # Early: what a crash loses with the message, the caretaker finds in the database.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # A training outlives its broker.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_TIMEOUT_SECONDS,
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_connect_timeout": _TIMEOUT_SECONDS,
            # Reads of a waiting worker block for longer than a hint may take.
            "socket_timeout": 30.0,
            "socket_keepalive": not settings.broker.startswith("redis+socket"),
            "health_check_interval": 25,
        },
        task_publish_retry=False,
        task_create_missing_queues=False,
        task_queues=[KombuQueue(device) for device in DEVICES],
        task_default_queue=DEVICES[0],
        task_protocol=2,
        timezone="UTC",
    )
    return app


class Queue:
    """Where hints are sent."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.celery = make_celery(settings)
        # A hint that finds no broker is given up at once (the caretaker sends another): a process that ends
        # would wait for it otherwise.
        self.celery.conf.broker_transport_options = {
            **self.celery.conf.broker_transport_options,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
        }
        self._hints: waiting_line.Queue[str | None] = waiting_line.Queue(_HINTS_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def hint(self, device: str) -> None:
        """Say that there is work for this device; returns at once and never fails."""
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="hints", daemon=True)
                self._thread.start()
        try:
            self._hints.put_nowait(device)
        except waiting_line.Full:
            log.warning("hint dropped", device=device, reason="the broker is too slow")

    def waiting(self, device: str) -> int:
        """How many hints for this device nobody has taken yet; raises where the broker does not answer."""
        return int(str(self._ask("LLEN", device)))

    def check(self) -> str | None:
        """None where the broker answers, else what is wrong."""
        try:
            self._ask("PING")
        except (redis.RedisError, OSError) as problem:
            return f"the broker does not answer: {problem}"
        return None

    def close(self) -> None:
        """Send what is waiting, if the broker takes it, and end the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            with contextlib.suppress(waiting_line.Full):  # then the thread sees by itself that it is to end
                self._hints.put_nowait(None)
            thread.join(timeout=2 * _TIMEOUT_SECONDS)
        self.celery.close()

    def _ask(self, *command: str) -> object:
        with redis.Redis.from_url(
            _redis_url(self.settings.broker),
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        ) as client:
            answer: object = client.execute_command(*command)
        return answer

    def _send_all(self) -> None:
        while (device := self._hints.get()) is not None:
            try:
                self.celery.send_task(WAKE, queue=device, retry=False, ignore_result=True)
            except Exception as problem:
                # The row stays queued, and the caretaker hints again.
                log.warning("hint not sent", device=device, problem=str(problem))
                if self._closed:
                    return
            if self._closed and self._hints.empty():
                return


def _redis_url(broker: str) -> str:
    """The broker's URL as redis-py writes it: Celery has its own way for sockets."""
    if not broker.startswith("redis+socket://"):
        return broker
    path, _, options = broker.removeprefix("redis+socket://").partition("?")
    renamed = options.replace("virtual_host=", "db=")
    return f"unix://{path}?{renamed}" if renamed else f"unix://{path}"
