"""Holding: what one attempt at a job has in its hands, whatever kind of job it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from store.artifacts import Artifacts
from store.tables import JobRow
from worker.publish import Publisher
from worker.record import Record
from worker.settings import WorkerSettings


class Wishes(Protocol):
    """What the parent wishes of a running attempt."""

    stop: bool
    leave: bool
    told: Callable[[], None]


@dataclass(frozen=True)
class Holding:
    """One attempt's means.

    Attributes:
        artifacts: where files are kept.
        settings: the worker's.
        row: the job as it was claimed.
        record: its rows, written under the attempt's token.
        publisher: its events on their way there.
        wishes: what the parent wishes.
        scratch: a folder that is gone with the attempt.
    """

    artifacts: Artifacts
    settings: WorkerSettings
    row: JobRow
    record: Record
    publisher: Publisher
    wishes: Wishes
    scratch: Path
