"""Two processes on one port: one scrape has the series of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from store import migrate
from tests.service.conftest import settings_for
from tests.system.gateways import gateway, is_open
from tests.system.house import eventually

pytestmark = pytest.mark.system

ASKED = 60
SERIES = re.compile(r'hourglass_requests_total\{method="GET",route="/v1/models",status="200"\} (\S+)')


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    home = tmp_path / "home"
    home.mkdir()
    migrate(settings_for(home))
    with gateway(home, 0, "--workers", "2") as client:
        eventually(lambda: is_open(client), "the gateway to open")
        yield client


def scraped(client: httpx.Client) -> tuple[float, set[str]]:
    """The requests that one scrape, on a connection of its own, says were answered."""
    text = httpx.get(f"{client.base_url}/metrics").text
    return sum(map(float, SERIES.findall(text))), set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_whichever_process_is_asked_answers_for_both(client: httpx.Client) -> None:
    for _ in range(ASKED):
        assert httpx.get(f"{client.base_url}/v1/models").status_code == 200
    eventually(lambda: {scraped(client)[0] for _ in range(8)} == {ASKED}, "all processes to know of all")
    assert {"hourglass_inference_batch_rows", "hourglass_models_loaded"} <= scraped(client)[1]
