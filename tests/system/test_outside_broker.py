"""A house whose broker is somebody else's: down at first, then up, then down again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from cli.valkey import Valkey
from tests.system.house import House, eventually

pytestmark = pytest.mark.system


def test_jobs_are_accepted_without_a_broker_and_run_once_it_is_there(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:  # the kernel allows a socket's path about 107 bytes
        valkey = Valkey(tmp_path / "broker", Path(short) / "b.sock")
        url = f"redis+socket://{short}/b.sock?virtual_host=0"
        house = House(tmp_path / "home", HOURGLASS_BROKER_URL=url)
        house.start()
        try:
            parts = eventually(house.parts, "the house to open without a broker", seconds=120)
            assert parts["broker"]
            job = house.submit(model="patient", training={"epochs": 2})
            assert house.job(job)["state"] == "queued"
            valkey.start()
            assert house.finished(job)["state"] == "succeeded"
            assert not [each for each in house.processes() if "valkey" in each.name()], (
                "it starts none of its own"
            )
            assert house.close() == 0
        finally:
            house.destroy()
            valkey.stop()
