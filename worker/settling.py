"""What a job leaves to be found by trying: settled once in its life, before a model is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from autoencoders.data.dataset import Dataset
from autoencoders.events import Event
from autoencoders.init.plan import read_plan
from autoencoders.spec import Spec
from autoencoders.study.rates import Rule, rate_in
from autoencoders.study.settle import Settling
from store import logs
from store.errors import ArtifactMissing
from worker.exits import Left
from worker.holding import Holding

log = logs.get(__name__)

FILE = "settled.json"


@dataclass(frozen=True)
class Settled:
    """A job's spec with nothing left open.

    Attributes:
        spec: what is trained.
        evidence: by `auto` and `learning_rate`, what was tried and chosen; None where nothing was open.
        seconds: that it took.
        pretraining: how often an init that was chosen passes over the training rows; None where none was.
    """

    spec: Spec
    evidence: dict[str, Any]
    seconds: float
    pretraining: float | None


class _Kept(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    init: dict[str, Any]
    learning_rate: float
    evidence: dict[str, Any]
    seconds: float


def settled(
    held: Holding, spec: Spec, dataset: Dataset, *, device: str, threads: int, take: Callable[[Event], None]
) -> Settled:
    """Settle a job's init and learning rate, or read what an earlier attempt settled.

    Args:
        held: the attempt's means.
        spec: the job's.
        dataset: its rows.
        device: where it will be trained.
        threads: of the process.
        take: what is done with each event.

    Raises:
        Left: the parent wishes so; the next attempt begins anew.
        NoCandidate: no candidate for `auto` could begin this model.
    """
    place = held.row.study_place
    settling = Settling(
        spec,
        dataset,
        learning_rate=_rule(held),
        # A study's budget in epochs is for both; a job's epochs are its training's.
        counts_pretraining=place is not None and place.get("budget_seconds") is None,
        device=device,
        threads=threads,
        earlier=held.record.bundle,
    )
    if not settling.is_needed:
        return Settled(settling.spec, settling.evidence, 0.0, None)
    key = f"jobs/{held.row.id}/checkpoints/{FILE}"
    if (kept := _read(held, key)) is not None:
        settling.adopt(read_plan(kept.init), kept.learning_rate)
        return Settled(settling.spec, kept.evidence, kept.seconds, settling.pretraining)
    held.publisher.enter("choosing by trying")
    for event in settling.run():
        take(event)
        if held.wishes.leave:
            raise Left
    found = _Kept(
        init=settling.spec.init.model_dump(mode="json"),
        learning_rate=rate_in(settling.spec),
        evidence=settling.evidence,
        seconds=sum(part["seconds"] for part in settling.evidence.values() if part is not None),
    )
    held.artifacts.write(key, found.model_dump_json().encode())
    return Settled(settling.spec, found.evidence, found.seconds, settling.pretraining)


def _rule(held: Holding) -> Rule:
    rule: Rule = (held.row.study_place or {}).get("learning_rate", "fixed")
    return rule


def _read(held: Holding, key: str) -> _Kept | None:
    try:
        return _Kept.model_validate(json.loads(held.artifacts.read(key)))
    except ArtifactMissing:
        return None
    except (ValidationError, ValueError) as error:
        log.warning("what was settled is damaged; settling anew", job=held.row.id, error=str(error))
        return None
