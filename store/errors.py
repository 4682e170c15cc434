"""What can go wrong in the memory; errors carry facts, never status codes.

StoreError
├── NotFound           no such row; says of which kind
├── Conflict           the row exists, is in use, or was asked for differently before
├── IllegalMove        a job or study cannot go from this state to that one
├── Fenced             the job is no longer this worker's: stop, write nothing more
├── BadName            a name, label or key that may not be used as one
├── BadCursor          the `after` of a page that no page ever answered
├── ArtifactMissing    the files of a row are gone, or were never there
├── NoRoom             the disk is too full to accept more
├── SchemaOutdated     the database was made by another version: migrate it
└── Unavailable        the database did not answer: try again
"""

from __future__ import annotations


class StoreError(Exception):
    """Any error of this package."""


class NotFound(StoreError):
    """There is no such row."""

    def __init__(self, kind: str, identity: str) -> None:
        super().__init__(f"there is no {kind} {identity!r}")
        self.kind, self.identity = kind, identity


class Conflict(StoreError):
    """The row exists already, is in use, or was asked for differently before."""


class IllegalMove(StoreError):
    """A job or study cannot go from this state to that one."""

    def __init__(self, source: str, target: str, *, kind: str = "job", detail: str | None = None) -> None:
        super().__init__(detail or f"a {source} {kind} cannot become {target}")
        self.source, self.target = source, target


class Fenced(StoreError):
    """The job is no longer held under this token: its worker must stop and write nothing more."""

    def __init__(self, job: str, token: int) -> None:
        super().__init__(f"job {job} is no longer held under token {token}")
        self.job, self.token = job, token


class BadName(StoreError):
    """A name, label or key that may not be used as one."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{name[:80]!r} cannot be a {kind}: {reason}")
        self.kind, self.name, self.reason = kind, name, reason


class BadCursor(StoreError):
    """The `after` of a page that no page ever answered."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor[:80]!r} is not the `next` of an earlier page")
        self.cursor = cursor


class ArtifactMissing(StoreError):
    """The files of a row are gone, or were never there."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no artifact {key!r}")
        self.key = key


class NoRoom(StoreError):
    """The disk is too full to accept more."""

    def __init__(self, free_bytes: int, floor_bytes: int) -> None:
        super().__init__(
            f"only {free_bytes / 1e6:.0f} MB of the disk are free; "
            f"nothing new is accepted under {floor_bytes / 1e6:.0f} MB"
        )
        self.free_bytes, self.floor_bytes = free_bytes, floor_bytes


class SchemaOutdated(StoreError):
    """The database's schema is not the one that this version works with."""


class Unavailable(StoreError):
    """The database did not answer, or would not take the write in time: trying again may help."""
