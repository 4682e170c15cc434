"""The gateway in-process over real ASGI, on a real SQLite store in a temporary folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import pytest
from fastapi import FastAPI

from autoencoders import Dataset, Experiment, Spec
from autoencoders.data import samples, write_sample
from service.app import create_app
from service.settings import ServiceSettings
from store import Datasets, Keys, Models, Store, ids, migrate

ADMIN_KEY = "an-admin-key-for-tests"


class Door:
    """An HTTP client of an application that runs in this process, its lifespan included."""

    def __init__(self, app: FastAPI, portal: anyio.from_thread.BlockingPortal) -> None:
        self.app, self.portal = app, portal
        self.headers: dict[str, str] = {}
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
        )

    @property
    def store(self) -> Store:
        store: Store = self.app.state.gateway.store
        return store

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **(options.pop("headers", None) or {})}

        async def send() -> httpx.Response:
            return await self._http.request(method, path, headers=headers, **options)

        return self.portal.call(send)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)


@contextmanager
def opened(settings: ServiceSettings) -> Iterator[Door]:
    app = create_app(settings)
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        door = Door(app, portal)
        yield door
        portal.call(door._http.aclose)


Opens = Callable[..., AbstractContextManager[Door]]


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("HOURGLASS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its tables made; copied for every test, since making them takes longer than a test."""
    home = tmp_path_factory.mktemp("template")
    migrate(settings_for(home))
    return home


def settings_for(home: Path, **given: Any) -> ServiceSettings:
    usual: dict[str, Any] = {
        "free_disk_floor_bytes": 0,
        "inference_device": "cpu",
        "inference_threads": 1,
        "parse_processes": 2,
        # A busy machine must not fail a test that is not about time.
        "diagnose_seconds": 240,
    }
    return ServiceSettings(home=home, _env_file=None, **{**usual, **given})


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def opens(home: Path) -> Opens:
    """Opens a gateway on this test's home, with other settings where given."""

    def open_(**given: Any) -> AbstractContextManager[Door]:
        return opened(settings_for(home, **given))

    return open_


@pytest.fixture
def door(opens: Opens) -> Iterator[Door]:
    """A gateway on loopback without keys: every request is the local owner's."""
    with opens() as door:
        yield door


@pytest.fixture
def guarded(opens: Opens) -> Iterator[Door]:
    """A gateway with an admin key, which the door does not send by itself."""
    with opens(admin_key=ADMIN_KEY) as door:
        yield door


def issue(door: Door, *scopes: str, **more: Any) -> dict[str, str]:
    """The header of a new key with these scopes."""
    with door.store.transaction() as session:
        _, secret = Keys(session).issue(name="test", scopes=scopes, **more)
    return {"Authorization": f"Bearer {secret}"}


def admin() -> dict[str, str]:
    return {"Authorization": f"Bearer {ADMIN_KEY}"}


def train_into(home: Path, sample: str, name: str, **spec: Any) -> None:
    """A dataset of this sample and a tiny model of it, both in the store, as a worker would leave them."""
    with opened_store(home) as store:
        identity, job = ids.new("ds"), ids.new("job")
        folder = home / "uploads" / identity
        manifest = write_sample(samples.choose(sample), folder)
        words = {"code": 4, "init": "he_normal", **spec}
        experiment = Experiment(Spec.model_validate(words), Dataset.open(folder), threads=1)
        for _ in experiment.run():
            pass
        bundle = experiment.save(home / "uploads" / job)
        store.artifacts.put_folder(folder, f"datasets/{identity}", move=True)
        store.artifacts.put_folder(home / "uploads" / job, f"models/{job}", move=True)
        with store.transaction() as session:
            found = manifest.model_dump(mode="json")
            Datasets(session).create(id=identity, name=sample, manifest=found)
            Models(session).register(
                name=name,
                job_id=job,
                dataset_id=identity,
                manifest=bundle.model_dump(mode="json"),
                error=bundle.metrics.error,
                labels={"team": "vision"},
            )


@contextmanager
def opened_store(home: Path) -> Iterator[Store]:
    store = Store.open(settings_for(home))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="session")
def trained_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of `digits-code` (images) and one of `blobs-code` (a table)."""
    home = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(template, home)
    short = {"architecture": {"name": "dense", "widths": [16]}, "training": {"epochs": 1}}
    train_into(home, "digits", "digits-code", **short)
    train_into(home, "digits", "digits-code", **{**short, "training": {"epochs": 1, "seed": 1}})
    train_into(home, "blobs", "blobs-code", **short)
    return home


@pytest.fixture
def trained(trained_template: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_template, tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture(scope="session")
def serving(trained_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One gateway with models for all tests that change nothing."""
    home = tmp_path_factory.mktemp("serving") / "home"
    shutil.copytree(trained_template, home)
    with opened(settings_for(home)) as door:
        yield door


@pytest.fixture
def served(trained: Path) -> Iterator[Door]:
    """A gateway with models that a test may change."""
    with opened(settings_for(trained)) as door:
        yield door
