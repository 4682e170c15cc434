"""A real gateway on a real port, for clients that are made for other servers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton

from autoencoders import bundle
from service.app import create_app
from store import Models
from tests.service.conftest import opened_store, settings_for
from tests.service.ports import served

Float32 = npt.NDArray[np.float32]
Serves = Callable[..., AbstractContextManager[str]]


@contextmanager
def serving_on_a_port(home: Path, **given: Any) -> Iterator[str]:
    """`host:port` of a gateway in a thread of this process, as uvicorn serves it."""
    app = create_app(settings_for(home, **given))
    with served(app, http="httptools", timeout_graceful_shutdown=1) as (port, _):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def v2_home(trained_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("v2") / "home"
    shutil.copytree(trained_template, home)
    return home


@pytest.fixture(scope="session")
def address(v2_home: Path) -> Iterator[str]:
    """A gateway on loopback without keys, for all tests that change nothing."""
    with serving_on_a_port(v2_home) as address:
        yield address


@pytest.fixture
def serves(trained: Path) -> Serves:
    """Opens a gateway of this test's own, with other settings where given."""

    def serve(**given: Any) -> AbstractContextManager[str]:
        return serving_on_a_port(trained, **given)

    return serve


@contextmanager
def triton_at(address: str) -> Iterator[triton.InferenceServerClient]:
    with contextlib.closing(triton.InferenceServerClient(address)) as client:
        yield client


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton_at(address) as client:
        yield client


@pytest.fixture(scope="session")
def digits(v2_home: Path) -> bundle.TrainedModel:
    """What `digits-code` is, loaded by the library itself."""
    with opened_store(v2_home) as store, store.session() as session:
        return bundle.load(store.artifacts.local_copy(Models(session).resolve("digits-code").artifact))


def some_rows(count: int = 3, seed: int = 0) -> Float32:
    """Rows as the sample has them: whole numbers from 0 to 16, so that every datatype can hold them."""
    rows: Float32 = np.random.default_rng(seed).integers(0, 17, (count, 8, 8)).astype(np.float32)
    return rows
