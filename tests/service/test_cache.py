from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from service.serving.cache import ModelCache
from service.serving.engine import Engine, Resolved
from service.serving.errors import Overloaded
from service.serving.forward import LoadedModel, load
from store import ArtifactMissing, Models
from tests.service.conftest import opened_store, settings_for


@pytest.fixture
def loader(trained: Path) -> Callable[[str], LoadedModel]:
    def read(name: str) -> LoadedModel:
        with opened_store(trained) as store:
            with store.session() as session:
                row = Models(session).resolve(name)
            return load(store.artifacts, Resolved(row.name, row.version, row.artifact), torch.device("cpu"))

    return read


def test_whoever_comes_meanwhile_waits_for_the_one_loader(loader: Callable[[str], LoadedModel]) -> None:
    loads, go = [], threading.Event()

    def slow() -> LoadedModel:
        loads.append(1)
        assert go.wait(30)
        return loader("digits-code")

    async def main() -> None:
        with ThreadPoolExecutor(4) as executor:
            cache = ModelCache(10**9, executor)
            waiting = [asyncio.create_task(cache.get("digits-code@2", slow)) for _ in range(5)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            go.set()
            first, *others = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(first, asyncio.CancelledError)
            assert all(other is others[0] for other in others)
            assert isinstance(others[0], LoadedModel)

    asyncio.run(main())
    assert len(loads) == 1


def test_the_least_recently_used_leaves(loader: Callable[[str], LoadedModel]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            size = loader("digits-code@1").bytes
            cache = ModelCache(int(2.5 * size), executor)
            for key in ("a@1", "b@1", "a@1", "c@1"):
                await cache.get(key, lambda: loader("digits-code@1"))
            assert "a@1" in cache
            assert "b@1" not in cache
            assert "c@1" in cache
            assert cache.bytes <= 2.5 * size
            cache.forget("a")
            assert "a@1" not in cache

    asyncio.run(main())


def test_a_model_larger_than_the_cache_is_still_served(loader: Callable[[str], LoadedModel]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            cache = ModelCache(1, executor)
            await cache.get("a@1", lambda: loader("digits-code@1"))
            await cache.get("b@1", lambda: loader("digits-code@1"))
            assert len(cache) == 1

    asyncio.run(main())


def test_a_failed_load_is_tried_again(loader: Callable[[str], LoadedModel]) -> None:
    def fails() -> LoadedModel:
        raise ArtifactMissing("models/gone")

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            cache = ModelCache(10**9, executor)
            with pytest.raises(ArtifactMissing):
                await cache.get("a@1", fails)
            assert await cache.get("a@1", lambda: loader("digits-code@1"))

    asyncio.run(main())


def test_too_many_rows_are_refused(trained: Path) -> None:
    import numpy as np

    async def main() -> None:
        with opened_store(trained) as store:
            engine = Engine(store, settings_for(trained, inference_rows_queued=5000))
            rows = np.zeros((4000, 64), np.float32)
            model = await engine.model("digits-code")
            first = asyncio.create_task(engine.run("encode", model, rows))
            await asyncio.sleep(0)  # the first has its place in the queue now
            with pytest.raises(Overloaded):
                await engine.run("encode", await engine.model("digits-code"), rows)
            assert (await first).values.shape == (4000, 4)
            alone = await engine.run(
                "score", await engine.model("digits-code"), np.zeros((6000, 64), np.float32)
            )
            assert alone.values.shape == (6000,)
            assert alone.beside["percentiles"].shape == (6000,)
            engine.close()

    asyncio.run(main())
