"""Hints that are asked for inside a transaction: sent once it is committed, and never where it is not."""

from __future__ import annotations

from sqlalchemy.orm import Session

from store.workers import Workers

_KEY = "hints"


def ask(session: Session, device: str, jobs: int) -> None:
    """Have living workers of this device look for so many new jobs; one hint each, since a worker goes on."""
    if jobs:
        workers = sum(worker.device == device for worker in Workers(session).living())
        wanted = session.info.setdefault(_KEY, {})
        wanted[device] = max(wanted.get(device, 0), min(jobs, max(1, workers)))


def asked(session: Session) -> list[str]:
    """The devices to hint, one entry a hint."""
    wanted: dict[str, int] = session.info.pop(_KEY, {})
    return [device for device, count in wanted.items() for _ in range(count)]
