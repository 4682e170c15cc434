"""Models in memory: read once however many ask, the least recently used leave when the bytes run out.

A model that leaves is only forgotten here: requests that hold it are answered by it to their end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

from service import metrics
from service.serving.forward import LoadedModel


class ModelCache:
    """Loaded models by key, bounded by bytes. Used from the event loop alone; the executor loads."""

    def __init__(self, limit_bytes: int, executor: Executor) -> None:
        self._limit = limit_bytes
        self._executor = executor
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, key: object) -> bool:
        return key in self._models

    @property
    def bytes(self) -> int:
        """What the loaded models weigh."""
        return sum(model.bytes for model in self._models.values())

    @property
    def keys(self) -> tuple[str, ...]:
        """What is loaded, the least recently used first."""
        return tuple(self._models)

    def held(self, key: str) -> LoadedModel | None:
        """The model under the key, if it is in memory; it counts as used."""
        model = self._models.get(key)
        if model is not None:
            self._models.move_to_end(key)
        return model

    async def get(self, key: str, load: Callable[[], LoadedModel]) -> LoadedModel:
        """The model under the key; whoever comes while it is being loaded waits for the one loader."""
        model = self.held(key)
        if model is not None:
            return model
        task = self._loading.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(key, load))
            self._loading[key] = task
        # A caller who leaves must not take the loader from the others.
        return await asyncio.shield(task)

    def forget(self, reference: str) -> None:
        """Let go of one version, or for a bare name of all."""
        name, at, _ = reference.partition("@")
        for key in [key for key in self._models if key == reference or (not at and _name(key) == name)]:
            del self._models[key]
        self._measure()

    async def _load(self, key: str, load: Callable[[], LoadedModel]) -> LoadedModel:
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._executor, load)
        except BaseException:
            metrics.model_loads.labels("failed").inc()
            raise
        finally:
            self._loading.pop(key, None)
        metrics.model_loads.labels("loaded").inc()
        self._models[key] = model
        while len(self._models) > 1 and self.bytes > self._limit:
            self._models.popitem(last=False)
        self._measure()
        return model

    def _measure(self) -> None:
        metrics.models_loaded.set(len(self._models))
        metrics.models_loaded_bytes.set(self.bytes)


def _name(key: str) -> str:
    return key.partition("@")[0]
