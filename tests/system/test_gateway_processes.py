"""Two processes on one port: connections are dealt out to them, and one scrape has the series of both."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from store import migrate
from tests.service.conftest import settings_for
from tests.system.gateways import gateway, is_open
from tests.system.house import ROOT, eventually, hourglass

pytestmark = pytest.mark.system

ASKED = 60
# Longer than uvicorn waits for a word of a process by itself.
SLOW_START = """
import os, sys, time
if any("spawn_main" in part for part in sys.orig_argv):
    with open(os.environ["STARTED"], "a") as started:
        print(os.getpid(), file=started)
    time.sleep(7)
"""
SERIES = re.compile(r'hourglass_requests_total\{method="GET",route="/v1/models",status="200"\} (\S+)')


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    home = tmp_path / "home"
    home.mkdir()
    migrate(settings_for(home))
    with gateway(home, 0, "--workers", "2") as client:
        eventually(lambda: is_open(client), "the gateway to open")
        yield client


def at(client: httpx.Client, status: str) -> Counter[int]:
    """How many sockets of that status on the gateway's port each process has."""
    return Counter(
        each.pid
        for each in psutil.net_connections("tcp")
        if each.pid and each.status == status and each.laddr.port == client.base_url.port
    )


def listening(client: httpx.Client, *, besides: int = 0) -> list[int]:
    """The two processes, once both are there."""
    return eventually(
        lambda: two if len(two := sorted({*at(client, psutil.CONN_LISTEN)} - {besides})) == 2 else None,
        "two processes to listen",
        seconds=120,
    )


def dealt(client: httpx.Client) -> Counter[int]:
    """Which process got how many of 32 connections that are made at once."""
    with contextlib.ExitStack() as held:
        address = (client.base_url.host, client.base_url.port)
        before = at(client, psutil.CONN_ESTABLISHED)
        made = [held.enter_context(socket.create_connection(address)) for _ in range(32)]
        return eventually(
            lambda: (
                found
                if (found := at(client, psutil.CONN_ESTABLISHED) - before).total() == len(made)
                else None
            ),
            "all connections to be accepted",
        )


def scraped(client: httpx.Client) -> tuple[float, set[str]]:
    """The requests that one scrape, on a connection of its own, says were answered."""
    text = httpx.get(f"{client.base_url}/metrics").text
    return sum(map(float, SERIES.findall(text))), set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_whichever_process_is_asked_answers_for_both(client: httpx.Client) -> None:
    for _ in range(ASKED):
        assert httpx.get(f"{client.base_url}/v1/models").status_code == 200
    eventually(lambda: {scraped(client)[0] for _ in range(8)} == {ASKED}, "all processes to know of all")
    assert {"hourglass_inference_batch_rows", "hourglass_models_loaded"} <= scraped(client)[1]


def test_connections_that_come_at_once_are_dealt_out_also_after_a_process_was_killed(
    client: httpx.Client,
) -> None:
    """By chance one of two gets fewer than five of 32 once in fifty thousand deals of the kernel."""
    first = listening(client)
    found = dealt(client)
    assert sorted(found) == first
    assert min(found.values()) >= 5
    psutil.Process(first[0]).kill()
    second = listening(client, besides=first[0])
    assert sorted(dealt(client)) == second


def test_a_process_that_starts_slowly_is_waited_for(tmp_path: Path) -> None:
    home, slow = tmp_path / "home", tmp_path / "slow"
    home.mkdir()
    slow.mkdir()
    migrate(settings_for(home))
    (slow / "sitecustomize.py").write_text(SLOW_START)
    path, started = os.pathsep.join((str(slow), str(ROOT))), tmp_path / "started"
    with gateway(home, 0, "--workers", "2", PYTHONPATH=path, STARTED=str(started)) as client:
        found = listening(client)
    assert sorted(map(int, started.read_text().split())) == found


def test_a_second_gateway_on_the_port_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    port = str(client.base_url.port)
    for workers in ("1", "2"):
        refused = hourglass(
            "serve", "--workers", workers,
            cwd=tmp_path, HOURGLASS_HOME=str(tmp_path / "home"), HOURGLASS_PORT=port,
        )  # fmt: skip
        assert refused.returncode != 0
        assert f"127.0.0.1:{port} is taken by another process" in refused.stderr
