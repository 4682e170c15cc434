"""A job's checkpoints: the last two and the best are kept; a resume begins at the newest that is whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from autoencoders.errors import CheckpointDamaged
from autoencoders.events import Checkpoint
from autoencoders.training.state import MANIFEST_FILE, TrainingState
from store import logs
from store.artifacts import Artifacts
from store.errors import ArtifactMissing

log = logs.get(__name__)

BEST_FILE = "best"


@dataclass(frozen=True, order=True)
class Place:
    """Where a checkpoint was taken: by which attempt and after which step."""

    token: int
    step: int

    def __str__(self) -> str:
        return f"{self.token}.{self.step}"

    @classmethod
    def read(cls, name: str) -> Place | None:
        """The place that a folder's name says; None where it says none."""
        token, _, step = name.partition(".")
        return cls(int(token), int(step)) if token.isdigit() and step.isdigit() else None


@dataclass(frozen=True)
class Found:
    """A checkpoint that is whole.

    Attributes:
        place: where it was taken.
        state: what a resume needs.
        threads: with how many threads; another number may change the last bits of what follows.
    """

    place: Place
    state: TrainingState
    threads: int


class Checkpoints:
    """The checkpoints of one job, written by one attempt.

    Args:
        artifacts: where they are kept.
        job: the job's id.
        token: the attempt's.
        scratch: a folder for what is on its way.
        kept: how many of the newest to keep beside the best.
    """

    def __init__(self, artifacts: Artifacts, job: str, token: int, scratch: Path, *, kept: int = 2) -> None:
        self._artifacts = artifacts
        self._prefix = f"jobs/{job}/checkpoints"
        self._token = token
        self._scratch = scratch
        self._kept = kept
        self._saved: list[Place] = []
        self._best: Place | None = None

    def save(self, event: Checkpoint) -> Place:
        """Keep a checkpoint, then let go of those that are no longer needed."""
        place = Place(self._token, event.step)
        if event.best:
            self._best = place
        if place in self._saved:
            return place
        folder = self._scratch / f"checkpoint-{place}"
        try:
            event.state.save(folder)
            if event.best:
                (folder / BEST_FILE).touch()
            self._artifacts.put_folder(folder, self._key(place), move=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._saved.append(place)
        self._prune()
        return place

    def newest(self) -> Found | None:
        """The newest whole checkpoint of any attempt; damaged ones are passed over with a word in the log."""
        self._saved = self._places()
        self._best = next((place for place in reversed(self._saved) if self._is_best(place)), None)
        for place in reversed(self._saved):
            try:
                folder = self._artifacts.local_copy(self._key(place))
                state = TrainingState.load(folder)
                threads = int(json.loads((folder / MANIFEST_FILE).read_text())["threads"])
            except (CheckpointDamaged, ArtifactMissing, OSError) as error:
                log.warning(
                    "a checkpoint is damaged; taking the one before", place=str(place), error=str(error)
                )
                continue
            return Found(place, state, threads)
        return None

    def _prune(self) -> None:
        """Only what this attempt or an earlier one wrote: a later attempt's are its own affair."""
        wanted = {*self._saved[-self._kept :], self._best}
        for place in [place for place in self._saved if place not in wanted and place.token <= self._token]:
            self._artifacts.remove(self._key(place))
            self._saved.remove(place)

    def _places(self) -> list[Place]:
        names = self._artifacts.list(self._prefix)
        return sorted(place for name in names if (place := Place.read(name)) is not None)

    def _is_best(self, place: Place) -> bool:
        return self._artifacts.exists(f"{self._key(place)}/{BEST_FILE}")

    def _key(self, place: Place) -> str:
        return f"{self._prefix}/{place}"
