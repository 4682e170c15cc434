"""A real store on a temporary folder, and jobs on its queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Store, migrate
from tests.worker.house import House
from worker.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        home=tmp_path / "home",
        device="cpu",
        threads=1,
        checkpoint_seconds=0.0,
        watch_seconds=0.05,
        caretaker_seconds=0.5,
    )


@pytest.fixture
def store(settings: WorkerSettings) -> Iterator[Store]:
    migrate(settings)
    store = Store.open(settings)
    yield store
    store.close()


@pytest.fixture
def house(store: Store, settings: WorkerSettings) -> Iterator[House]:
    house = House(store, settings)
    yield house
    house.close()
