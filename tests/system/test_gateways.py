"""Two gateway processes on one store, asked without a pause while versions and names come and go."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from autoencoders import bundle
from store import Models, migrate
from tests.service.conftest import opened_store, settings_for, train_into
from tests.system.gateways import gateway, is_open
from tests.system.house import eventually

pytestmark = pytest.mark.system

NAME = "digits-code"
COHERENT_SECONDS = 1.0
SOME_MORE = 0.25
ROWS = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 64)
NPY = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
Float32 = npt.NDArray[np.float32]


@dataclass
class Asked:
    """One request: to which gateway it went, when, and what came back; the version where there was one."""

    gateway: int
    name: str
    began: float
    status: int
    version: int | None
    codes: Float32 | None


@dataclass
class Crowd:
    """Clients that ask every gateway for every name, over and over."""

    gateways: list[httpx.Client]
    asked: list[Asked] = field(default_factory=list)
    _names: tuple[str, ...] = (NAME, f"{NAME}@champion", f"{NAME}@1", f"{NAME}@3")
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._ask, args=(gateway, name))
            for gateway in range(len(self.gateways))
            for name in self._names
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask(self, gateway: int, name: str) -> None:
        body = io.BytesIO()
        np.save(body, ROWS)
        while not self._over.is_set():
            began = time.monotonic()
            said = self.gateways[gateway].post(
                f"/v1/models/{name}/encode", content=body.getvalue(), headers=NPY
            )
            good = said.status_code == 200
            version = int(said.headers["x-model"].partition("@")[2]) if good else None
            codes = np.load(io.BytesIO(said.content)) if good else None
            self.asked.append(Asked(gateway, name, began, said.status_code, version, codes))
            time.sleep(0.02)

    def versions(self, name: str, *, after: float) -> set[int | None]:
        """Which versions answered for a name in the requests that began after a moment."""
        return {each.version for each in self.asked if each.name == name and each.began > after}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store with three versions of one model."""
    home = tmp_path / "home"
    home.mkdir()
    migrate(settings_for(home))
    for seed in range(3):
        short = {"architecture": {"name": "dense", "widths": [16]}, "training": {"epochs": 1, "seed": seed}}
        train_into(home, "digits", NAME, **short)
    return home


def expected(home: Path) -> dict[int, Float32]:
    """The codes by each version."""
    with opened_store(home) as store, store.session() as session:
        rows = Models(session).versions(NAME)
        return {
            row.version: bundle.load(store.artifacts.local_copy(row.artifact)).encode(ROWS) for row in rows
        }


def settle() -> float:
    """The moment after which every gateway must know; it waits for requests that begin after that."""
    known = time.monotonic() + COHERENT_SECONDS
    time.sleep(COHERENT_SECONDS + SOME_MORE)
    return known


def test_names_that_move_and_versions_that_go_are_known_to_every_gateway_within_a_second(home: Path) -> None:
    codes = expected(home)
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway(home, number)) for number in range(2)]
        for client in clients:
            eventually(lambda client=client: is_open(client), "the gateways to open")  # type: ignore[misc]
        one, other = clients
        assert one.put(f"/v1/models/{NAME}/aliases/champion", json={"version": 1}).status_code == 200
        crowd = Crowd(clients)
        with crowd.at_work():
            eventually(lambda: len(crowd.asked) > 30, "requests")
            other.put(f"/v1/models/{NAME}/aliases/champion", json={"version": 2}).raise_for_status()
            one.post(f"/v1/models/{NAME}/promote", json={"version": 1}).raise_for_status()
            moved = settle()
            other.post(f"/v1/models/{NAME}/promote", json={"version": 3}).raise_for_status()
            settle()
            one.delete(f"/v1/models/{NAME}@3").raise_for_status()
            deleted = settle()
    wrong = [each for each in crowd.asked if each.status != 200 and each.name != f"{NAME}@3"]
    assert not wrong, wrong[:3]
    for each in crowd.asked:
        if each.version is not None and each.codes is not None:
            np.testing.assert_allclose(each.codes, codes[each.version], rtol=1e-4, atol=1e-5)
    assert crowd.versions(NAME, after=deleted) == {2}
    assert crowd.versions(f"{NAME}@champion", after=moved) == {2}
    between = [each for each in crowd.asked if moved < each.began < moved + SOME_MORE]
    assert {each.version for each in between if each.name == NAME} == {1}
    gone = [each.status for each in crowd.asked if each.name == f"{NAME}@3" and each.began > deleted]
    assert gone
    assert set(gone) <= {404, 410}
    assert {each.status for each in crowd.asked if each.name == f"{NAME}@3"} <= {200, 404, 410}
