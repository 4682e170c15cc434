"""The engine: rows go in under a model's name, and what the model makes of them comes out.

Names are resolved through the store and remembered for a moment; models come from the cache; the batcher puts
the rows of many requests through one forward pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from starlette.types import Receive

from autoencoders.errors import BundleDamaged
from service import metrics
from service.serving.batcher import Batcher
from service.serving.cache import ModelCache
from service.serving.codecs import Rows
from service.serving.counted import Counted
from service.serving.errors import Overloaded
from service.serving.forward import Action, LoadedModel, load
from service.serving.lane import Arrays, Asked, Awaited, Lane, Wants
from service.serving.names import Names, Resolved
from service.serving.runtimes import Wished, device_of
from service.serving.statistics import Statistics
from service.settings import ServiceSettings
from store import ArtifactMissing, NotFound, Store
from store.models import Models

__all__ = ["Action", "Answer", "Engine", "Resolved"]

MAIN: dict[Action, str] = {"encode": "code", "decode": "rows", "reconstruct": "rows", "score": "error"}
"""Which of a pass's arrays an action is answered with first."""

_WANTS: dict[Action, Wants] = {
    "encode": frozenset({"code"}),
    "decode": frozenset({"rows"}),
    "reconstruct": frozenset({"rows"}),
    "score": frozenset({"error", "percentile"}),
}
_WHY = frozenset({"error", "percentile", "share"})
# What reading a model ends in whose files are being removed.
_REMOVED = (ArtifactMissing, BundleDamaged)
_BESIDE = {"percentile": "percentiles", "share": "per_feature"}


class Answer(NamedTuple):
    """What came out, which version made it, and how long it waited and computed."""

    values: np.ndarray[Any, Any]
    beside: Mapping[str, np.ndarray[Any, Any]]
    model: LoadedModel
    queue_seconds: float
    compute_seconds: float


class Engine:
    """Serves every model of the store."""

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._device = device_of(settings.inference_device)
        self.limit_bytes = settings.body_limit_bytes
        threads = settings.threads
        self._wished = Wished(
            settings.inference_runtime, settings.inference_precision, threads, settings.inference_spin
        )
        self._batcher = Batcher(
            rows_queued=settings.inference_rows_queued,
            batch_rows=settings.inference_batch_rows,
            prepare=partial(torch.set_num_threads, threads),
        )
        self._loader = ThreadPoolExecutor(2, "load-model")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._statistics: dict[str, Statistics] = {}
        self._counted = {action: Counted(action) for action in _WANTS}
        self.names = Names(self._ask, settings.alias_seconds)
        self.cache = ModelCache(settings.model_cache_bytes, self._loader)

    def told(self, answering: Sized | None) -> None:
        """What the server is answering, kept up by the server: one request alone has none to be put with."""
        self._batcher.answering = answering

    def held(self, name: str) -> LoadedModel | None:
        """The model that a name means, where that takes no waiting: known of late, and in memory."""
        meant = self.names.now(name)
        return None if meant is None else self.cache.held(meant.key)

    async def model(self, name: str) -> LoadedModel:
        """The model that a name means now: `faces`, `faces@3` or `faces@champion`.

        Raises:
            NotFound: there is no such model, version or alias.
            ArtifactMissing: its files are gone.
            BundleDamaged: its files are not what they were.
        """
        held = self.held(name)
        if held is not None:
            return held
        self._loop = asyncio.get_running_loop()
        meant = await self.names.resolve(name)
        try:
            return await self._load(meant)
        except _REMOVED:
            # Another gateway removed it since the name was looked up: the name means another version now.
            self.names.forget(meant.name)
            again = await self.names.resolve(name)
            if again == meant:
                raise
            return await self._load(again)

    async def run(
        self,
        action: Action,
        model: LoadedModel,
        rows: Rows,
        *,
        per_feature: bool = False,
        receive: Receive | None = None,
    ) -> Answer:
        """One action of a loaded model on checked rows.

        Args:
            action: what to do.
            model: as `model` gave it; it answers whatever its name comes to mean meanwhile.
            rows: [n, features], or for `decode` [n, code].
            per_feature: add the share of every feature in a row's error.
            receive: the request's own; where it says that the client left, rows that still wait are dropped.

        Raises:
            Overloaded: too many rows are waiting already.
            ClientGone: the client left before its rows were computed.
        """
        lane, wants = _lane(action, model), _WHY if per_feature else _WANTS[action]
        asked, made = await self._made(lane, rows, wants, receive)
        return self.answer(action, model, asked, made)

    async def run_all(
        self,
        actions: tuple[Action, ...],
        model: LoadedModel,
        rows: Rows,
        *,
        receive: Receive | None = None,
    ) -> dict[Action, Answer]:
        """Several of `encode`, `reconstruct` and `score` on the same rows, their code computed once.

        Raises:
            Overloaded: too many rows are waiting already.
            ClientGone: the client left before its rows were computed.
        """
        wants = frozenset[str]().union(*(_WANTS[action] for action in actions))
        lane = _lane(actions[0], model) if len(actions) == 1 else model.through
        asked, made = await self._made(lane, rows, wants, receive)
        return {action: self.answer(action, model, asked, made) for action in actions}

    def is_enough(self, action: Action, model: LoadedModel, rows: int) -> bool:
        """Whether so many rows are worth a pass of their own while more of their request are coming."""
        return self._batcher.is_enough(_lane(action, model), rows)

    def submit(self, action: Action, model: LoadedModel, rows: Rows, *, first: bool) -> Awaited:
        """Put some of a request's rows on their way; `gathered` has the answer to all of them.

        Args:
            action: what to do.
            model: one that is in memory.
            rows: [n, features], or for `decode` [n, code].
            first: whether they are the first of their request.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        asked = self._submit(_lane(action, model), rows, _WANTS[action])
        asked.requests = int(first)
        return asked

    async def computed(self, parts: Sequence[Awaited], receive: Receive | None) -> list[Arrays]:
        """The arrays of rows that were submitted; where others are before them, with an eye on the client.

        Raises:
            ClientGone: the client left before they were computed.
        """
        if receive is None or not self._batcher.pressed:
            return [await part.future for part in parts]
        watch = asyncio.create_task(_leave(parts, receive))
        try:
            return [await part.future for part in parts]
        finally:
            watch.cancel()

    async def gathered(
        self, action: Action, model: LoadedModel, parts: Sequence[Awaited], receive: Receive | None = None
    ) -> Answer:
        """The answer to a request whose rows were submitted in parts.

        Raises:
            ClientGone: the client left before its rows were computed.
        """
        arrays = await self.computed(parts, receive)
        made = {name: np.concatenate([part[name] for part in arrays]) for name in _WANTS[action]}
        whole = Asked(parts[0].rows, sum(part.count for part in parts), _WANTS[action], parts[0].future, 0.0)
        whole.compute_seconds = sum(part.compute_seconds for part in parts)
        whole.queue_seconds = max(part.queue_seconds for part in parts)
        return self.answer(action, model, whole, made)

    def begin(self, action: Action, model: LoadedModel, asked: Asked, *, alone: bool) -> None:
        """Put rows on their way whose waiter is told at once, instead of being woken later.

        Args:
            action: what to do.
            model: one that is in memory.
            asked: made with `wants(action)`.
            alone: whether no other request can come meanwhile.

        Raises:
            Overloaded: too many rows are waiting already.
        """
        asked.rows = _whole(asked.rows)
        try:
            self._batcher.put(_lane(action, model), asked, alone=alone)
        except Overloaded:
            metrics.refused.labels("rows_queued").inc()
            raise

    def answer(self, action: Action, model: LoadedModel, asked: Asked, made: Arrays) -> Answer:
        """What came out, counted."""
        self._counted[action].answered(asked)
        main = made[MAIN[action]]
        beside = {} if action != "score" else {_BESIDE[name]: made[name] for name in _BESIDE if name in made}
        return Answer(main, beside, model, asked.queue_seconds, asked.compute_seconds)

    async def threshold(self, name: str, model: LoadedModel) -> Mapping[str, Any] | None:
        """The threshold of the version to which the name just led, as old as names may be; None for none."""
        meant = self.names.now(name)
        if meant is None or meant.key != model.key:
            try:
                meant = await self.names.resolve(model.key)
            except NotFound:
                # It was removed meanwhile; who asked before still has an answer.
                return None
        return meant.threshold

    def statistics(self, key: str) -> Statistics:
        """The counts of a version, by its `name@version`, since this process began."""
        found = self._statistics.get(key)
        if found is None:
            found = self._statistics[key] = Statistics()
        return found

    def loaded(self) -> tuple[str, ...]:
        """The versions in memory, as `name@version`."""
        return self.cache.keys

    async def unload(self, name: str) -> None:
        """Let go of a version's memory, or for a bare name of all versions'; the next request loads again."""
        self.names.forget(name.partition("@")[0])
        self.cache.forget(name)

    def forget(self, name: str) -> None:
        """A name was moved or removed here: look again at once, and let go of the model."""
        self._on_loop(partial(self.names.forget, name))
        self._on_loop(partial(self.cache.forget, name))

    def forget_names(self, name: str) -> None:
        """An alias was moved here: look again at once; the versions in memory stay good."""
        self._on_loop(partial(self.names.forget, name))

    def close(self) -> None:
        """End the threads."""
        self._batcher.close()
        self._loader.shutdown(wait=True, cancel_futures=True)

    def _submit(self, lane: Lane, rows: Rows, wants: Wants) -> Awaited:
        try:
            return self._batcher.submit(lane, _whole(rows), wants)
        except Overloaded:
            metrics.refused.labels("rows_queued").inc()
            raise

    async def _made(
        self, lane: Lane, rows: Rows, wants: Wants, receive: Receive | None
    ) -> tuple[Asked, Arrays]:
        asked = self._submit(lane, rows, wants)
        (made,) = await self.computed([asked], receive)
        return asked, made

    async def _ask(self, name: str) -> Resolved:
        """What a name means now, when its model is in memory."""
        loop = asyncio.get_running_loop()
        meant = await loop.run_in_executor(self._loader, self._look_up, name)
        try:
            await self._load(meant)
        except _REMOVED:
            before, meant = meant, await loop.run_in_executor(self._loader, self._look_up, name)
            if meant == before:
                raise
            await self._load(meant)
        return meant

    async def _load(self, meant: Resolved) -> LoadedModel:
        seen = self.statistics(meant.key)
        return await self.cache.get(
            meant.key, lambda: load(self._store.artifacts, meant, self._device, self._wished, seen)
        )

    def _look_up(self, name: str) -> Resolved:
        with self._store.session() as session:
            row = Models(session).resolve(name)
            return Resolved(row.name, row.version, row.artifact, row.threshold)

    def _on_loop(self, act: Callable[[], None]) -> None:
        """Do it in the event loop's thread: at once if that is this one, else before what follows."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if self._loop is None or self._loop is here:
            act()
        else:
            self._loop.call_soon_threadsafe(act)


def wants(action: Action) -> Wants:
    """The arrays that an action is answered with."""
    return _WANTS[action]


def _whole(rows: Rows) -> Rows:
    """The rows, contiguous and aligned."""
    if rows.flags.c_contiguous and rows.flags.aligned:
        return rows
    return np.array(rows, np.float32, order="C")


def _lane(action: Action, model: LoadedModel) -> Lane:
    if action == "encode":
        return model.encoding
    return model.decoding if action == "decode" else model.through


async def _leave(parts: Sequence[Asked], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    for part in parts:
        part.leave()
