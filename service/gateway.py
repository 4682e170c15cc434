"""Everything that lives as long as the gateway's process: store, engine, tailer, child processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from anyio import CapacityLimiter

from service import metrics
from service.auth import Gatekeeper
from service.children import Bounds, Children
from service.serving.engine import Engine
from service.settings import ServiceSettings
from service.siblings import Siblings
from service.stream import Tailer
from store import Store


@dataclass(frozen=True)
class Gateway:
    """What routes reach through `dependencies.py`."""

    settings: ServiceSettings
    store: Store
    gatekeeper: Gatekeeper
    parsers: Children
    diagnosers: Children
    waiting: CapacityLimiter
    tailer: Tailer
    engine: Engine
    siblings: Siblings

    @classmethod
    def open(cls, settings: ServiceSettings, store: Store) -> Self:
        """Make all parts; nothing runs yet."""
        return cls(
            settings=settings,
            store=store,
            gatekeeper=Gatekeeper(store, settings),
            parsers=Children(settings.parse_processes),
            diagnosers=Children(settings.diagnose_processes),
            # As many wait for a diagnosis as are being made: their threads are none of other routes'.
            waiting=CapacityLimiter(2 * settings.diagnose_processes),
            tailer=Tailer(
                store,
                streams_per_caller=settings.streams_per_caller,
                keep_alive_seconds=settings.keep_alive_seconds,
            ),
            engine=Engine(store, settings),
            siblings=Siblings(metrics.render, settings.metrics_folder),
        )

    def bounds(self) -> Bounds:
        """What a process that parses an upload may use."""
        return Bounds(
            memory_bytes=self.settings.parse_memory_bytes,
            wall_seconds=self.settings.parse_seconds,
            file_bytes=self.settings.upload_limit_bytes * 2,
        )

    def end_what_lasts(self) -> None:
        """End streams and diagnoses, for which a server that was told to end would wait."""
        self.tailer.close()
        self.diagnosers.close()

    def close(self) -> None:
        """End streams, children and threads; the store is closed by whoever opened it."""
        self.end_what_lasts()
        self.parsers.close()
        self.engine.close()
