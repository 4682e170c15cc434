"""The engine: rows go in under a model's name, and what the model makes of them comes out.

Names are resolved through the store and remembered for a moment; models come from the cache; forward passes
run on one thread per device, portion by portion, so that a large request leaves gaps for small ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from service import metrics
from service.serving.cache import ModelCache
from service.serving.codecs import Expected, Rows
from service.serving.errors import Overloaded
from service.serving.forward import LoadedModel, load
from service.settings import ServiceSettings
from store import Store
from store.models import Models

Action = Literal["encode", "decode", "reconstruct", "score"]
CHUNK_ROWS = 1024
_REMEMBERED_NAMES = 4096


@dataclass(frozen=True)
class Resolved:
    """What a name meant when it was last looked up."""

    name: str
    version: int
    artifact: str

    @property
    def key(self) -> str:
        """The same for every name of this version."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Answer:
    """What came out, which version made it, and how long it waited and computed."""

    values: np.ndarray[Any, Any]
    beside: dict[str, np.ndarray[Any, Any]]
    model: LoadedModel
    queue_seconds: float
    compute_seconds: float


class Engine:
    """Serves every model of the store."""

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._device = _device(settings.inference_device)
        self._remember_seconds = settings.alias_seconds
        self._most_rows = settings.inference_rows_queued
        self._names: dict[str, tuple[float, Resolved]] = {}
        self._waiting_rows = 0
        threads = settings.inference_threads or torch.get_num_threads()
        # One thread per device: two forward passes at once would only take turns on the same cores.
        self._compute = ThreadPoolExecutor(
            1, "compute", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._loader = ThreadPoolExecutor(2, "load-model")
        self.cache = ModelCache(settings.model_cache_bytes, self._loader)

    async def model(self, name: str) -> LoadedModel:
        """The model that a name means now: `faces`, `faces@3` or `faces@champion`.

        Raises:
            NotFound: there is no such model, version or alias.
            ArtifactMissing: its files are gone.
            BundleDamaged: its files are not what they were.
        """
        meant = await self._resolve(name)
        return await self.cache.get(meant.key, lambda: load(self._store.artifacts, meant, self._device))

    async def encode(self, name: str, rows: Rows) -> Answer:
        """The codes of rows."""
        return await self.run("encode", await self.model(name), rows)

    async def decode(self, name: str, codes: Rows) -> Answer:
        """The rows of codes, in the dataset's own units."""
        return await self.run("decode", await self.model(name), codes)

    async def reconstruct(self, name: str, rows: Rows) -> Answer:
        """Rows through the code and back."""
        return await self.run("reconstruct", await self.model(name), rows)

    async def score(self, name: str, rows: Rows, *, per_feature: bool = False) -> Answer:
        """The reconstruction error per row, its percentile, and where asked the share of every feature."""
        return await self.run("score", await self.model(name), rows, per_feature=per_feature)

    async def run(
        self, action: Action, model: LoadedModel, rows: Rows, *, per_feature: bool = False
    ) -> Answer:
        """One action of a loaded model on checked rows.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        if self._waiting_rows and self._waiting_rows + len(rows) > self._most_rows:
            metrics.refused.labels("rows_queued").inc()
            raise Overloaded(f"{self._waiting_rows} rows are waiting for the device; try again")
        forward = _forward(action, model, per_feature)
        parts: list[dict[str, np.ndarray[Any, Any]]] = []
        queued = computed = 0.0
        self._waiting_rows += len(rows)
        try:
            for start in range(0, len(rows), CHUNK_ROWS):
                asked = time.perf_counter()
                part, began, ended = await asyncio.get_running_loop().run_in_executor(
                    self._compute, _timed, forward, rows[start : start + CHUNK_ROWS]
                )
                parts.append(part)
                queued += began - asked
                computed += ended - began
        finally:
            self._waiting_rows -= len(rows)
        metrics.inference_rows.labels(action).inc(len(rows))
        metrics.inference_queue_seconds.labels(action).observe(queued)
        metrics.inference_compute_seconds.labels(action).observe(computed)
        whole = (
            parts[0]
            if len(parts) == 1
            else {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        )
        values = whole.pop("values")
        return Answer(values, whole, model, queued, computed)

    def forget(self, name: str) -> None:
        """A name was moved or removed here: look again at once, and let go of the model."""
        for known in [known for known in self._names if known.partition("@")[0] == name]:
            del self._names[known]
        self.cache.forget(name)

    def forget_names(self, name: str) -> None:
        """An alias was moved here: look again at once; the versions in memory stay good."""
        for known in [known for known in self._names if known.partition("@")[0] == name]:
            del self._names[known]

    def close(self) -> None:
        """End the threads."""
        self._compute.shutdown(wait=True, cancel_futures=True)
        self._loader.shutdown(wait=True, cancel_futures=True)

    async def _resolve(self, name: str) -> Resolved:
        known = self._names.get(name)
        if known is not None and time.monotonic() - known[0] < self._remember_seconds:
            return known[1]
        looked = time.monotonic()
        meant = await asyncio.get_running_loop().run_in_executor(self._loader, self._look_up, name)
        if len(self._names) >= _REMEMBERED_NAMES:
            self._names.clear()
        self._names[name] = (looked, meant)
        return meant

    def _look_up(self, name: str) -> Resolved:
        with self._store.session() as session:
            row = Models(session).resolve(name)
            return Resolved(row.name, row.version, row.artifact)


def expected_rows(model: LoadedModel, action: Action) -> Expected:
    """What the body of a request for this action must hold."""
    if action == "decode":
        return Expected(model.code_size, (model.code_size,), None, "its codes")
    return Expected(model.facts.features, model.facts.shape, model.facts.columns)


Forward = Callable[[Rows], dict[str, np.ndarray[Any, Any]]]


def _forward(action: Action, model: LoadedModel, per_feature: bool) -> Forward:
    if action == "score":
        return lambda rows: model.score(rows, per_feature=per_feature)
    return {"encode": model.encode, "decode": model.decode, "reconstruct": model.reconstruct}[action]


def _timed(forward: Forward, rows: Rows) -> tuple[dict[str, np.ndarray[Any, Any]], float, float]:
    began = time.perf_counter()
    result = forward(rows)
    return result, began, time.perf_counter()


def _device(asked: str) -> torch.device:
    if asked == "gpu" or (asked == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    return torch.device("cpu")
