"""Models: register a version, find it by name, version or alias, promote, list, remove.

A bare name means the version that `promote` last moved it to; where that was removed, the newest left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from sqlalchemy import Text, and_, cast, delete, func, select, update
from sqlalchemy.orm import Session

from store import ids, pages
from store import labels as label_rows
from store.database import insert_missing, now
from store.errors import BadName, Conflict, NotFound
from store.lifecycle import JobState
from store.pages import Page
from store.removals import Removals
from store.tables import AliasRow, JobRow, ModelNameRow, ModelRow

RESERVED_NAMES = ("stats",)
Promote = Literal["always", "if_better", "never"]


class Models:
    """The registered models."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def register(
        self,
        *,
        name: str,
        job_id: str | None,
        dataset_id: str | None,
        manifest: Mapping[str, object],
        labels: Mapping[str, str] | None = None,
        promote: Promote = "always",
        error: float | None = None,
        artifact: str | None = None,
    ) -> ModelRow:
        """Note a new version, whose files lie under `models/<job_id>` already (or under `artifact`)."""
        ids.check_name("model's name", name, reserved=RESERVED_NAMES)
        identity = ids.new("model")
        insert_missing(self.session, ModelNameRow, {"name": name, "versions": 0, "current": None})
        holder = self._lock(name)
        holder.versions += 1
        if error is not None and not math.isfinite(error):
            error = None  # unknown: worse than any number
        sha256 = manifest.get("weights_sha256")
        row = ModelRow(
            id=identity,
            name=name,
            version=holder.versions,
            job_id=job_id,
            dataset_id=dataset_id,
            manifest=dict(manifest),
            labels=label_rows.check(labels or {}),
            error=error,
            weights_sha256=sha256 if isinstance(sha256, str) else None,
            artifact=artifact or f"models/{job_id or identity}",
            created_at=now(self.session),
        )
        self.session.add(row)
        self.session.flush()
        label_rows.write(self.session, identity, row.labels)
        if self._moves(holder, row, promote):
            self._point(holder, row.version)
        return row

    def resolve(self, reference: str) -> ModelRow:
        """The version that `name`, `name@3` or `name@alias` means, or `NotFound`."""
        name, at, which = reference.partition("@")
        if not ids.is_name(name) or (at and not ids.is_name(which)):
            raise NotFound("model", reference)
        rows = select(ModelRow).where(ModelRow.name == name)
        if not at:
            current = and_(ModelNameRow.name == ModelRow.name, ModelNameRow.current == ModelRow.version)
            rows = rows.join(ModelNameRow, current)
        elif which.isdecimal():
            rows = rows.where(ModelRow.version == _version(which))
        else:
            meant = and_(AliasRow.name == ModelRow.name, AliasRow.version == ModelRow.version)
            rows = rows.join(AliasRow, meant).where(AliasRow.alias == which)
        row = self.session.scalars(rows).one_or_none()
        if row is None:
            raise NotFound("model", reference)
        return row

    def page(
        self, *, limit: int = 50, after: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Page[ModelRow]:
        """Each name once, as the version that it means now; newest version first."""
        current = and_(ModelNameRow.name == ModelRow.name, ModelNameRow.current == ModelRow.version)
        rows = select(ModelRow).join(ModelNameRow, current)
        rows = rows.where(*label_rows.matching(ModelRow.id, labels or {}))
        return pages.fetch(self.session, rows, ModelRow.id, limit=limit, after=after)

    def versions(self, name: str) -> list[ModelRow]:
        """All versions of a name, newest first, or `NotFound`."""
        rows = select(ModelRow).where(ModelRow.name == name).order_by(ModelRow.version.desc())
        found = list(self.session.scalars(rows)) if ids.is_name(name) else []
        if not found:
            raise NotFound("model", name)
        return found

    def version_page(self, name: str, *, limit: int = 50, after: str | None = None) -> Page[ModelRow]:
        """The versions of a name, newest first, a page at a time."""
        self.resolve(name)
        rows = select(ModelRow).where(ModelRow.name == name)
        return pages.fetch(self.session, rows, ModelRow.id, limit=limit, after=after)

    def every(self) -> list[tuple[str, int]]:
        """Name and number of every version of every model, in order."""
        rows = select(ModelRow.name, ModelRow.version).order_by(ModelRow.name, ModelRow.version)
        return [(name, version) for name, version in self.session.execute(rows)]

    def promote(self, name: str, version: int) -> ModelRow:
        """Make the bare name mean this version."""
        holder = self._lock(name)
        row = self.resolve(f"{name}@{version}")
        self._point(holder, version)
        self.session.refresh(row)
        return row

    def offer(self, name: str, version: int, promote: Promote) -> None:
        """Let the bare name move to a version that is there already, as `promote` says."""
        try:
            holder = self._lock(name)
            row = self.resolve(f"{name}@{version}")
        except NotFound:
            return  # removed meanwhile: then it is nobody's to promote
        if self._moves(holder, row, promote):
            self._point(holder, version)

    def set_alias(self, name: str, alias: str, version: int) -> ModelRow:
        """Make `name@alias` mean this version; answers the version."""
        ids.check_name("alias", alias)
        if alias.isdecimal():
            raise BadName("alias", alias, "it would read as a version")
        self._lock(name)
        row = self.resolve(f"{name}@{version}")
        before = self.session.get(AliasRow, (name, alias))
        if before is None:
            self.session.add(AliasRow(name=name, alias=alias, version=version))
        elif before.version == version:
            return row
        else:
            self._touch(name, before.version)
            before.version = version
        self._touch(name, version)
        self.session.refresh(row)
        return row

    def remove_alias(self, name: str, alias: str) -> None:
        """Forget an alias, or `NotFound`."""
        self._lock(name)
        row = self.session.get(AliasRow, (name, alias)) if ids.is_name(alias) else None
        if row is None:
            raise NotFound("alias", f"{name}@{alias}")
        self._touch(name, row.version)
        self.session.delete(row)
        self.session.flush()

    def aliases(self, name: str) -> dict[str, int]:
        """The aliases of a name and the version each means."""
        if not ids.is_name(name):
            return {}
        rows = select(AliasRow).where(AliasRow.name == name).order_by(AliasRow.alias)
        return {row.alias: row.version for row in self.session.scalars(rows)}

    def set_threshold(self, reference: str, threshold: Mapping[str, object] | None) -> ModelRow:
        """Set (or forget) the score above which this version calls a row an anomaly."""
        row = self.resolve(reference)
        row.threshold = None if threshold is None else dict(threshold)
        row.revision += 1
        self.session.flush()
        return row

    def remove(self, name: str, version: int | None = None) -> list[ModelRow]:
        """Remove a version, or all of them, with aliases and, soon, files; answers what was removed.

        `Conflict` while a job that is not over needs one of them.
        """
        holder = self._lock(name)
        rows = self.versions(name) if version is None else [self.resolve(f"{name}@{version}")]
        for row in rows:
            self._check_unneeded(f"{row.name}@{row.version}")
        for row in rows:
            label_rows.remove(self.session, row.id)
            removed = and_(AliasRow.name == name, AliasRow.version == row.version)
            self.session.execute(delete(AliasRow).where(removed))
            Removals(self.session).ask(row.artifact)
            self.session.delete(row)
        self.session.flush()
        if holder.current in {row.version for row in rows}:
            newest = select(func.max(ModelRow.version)).where(ModelRow.name == name)
            self._point(holder, self.session.execute(newest).scalar_one())
        return rows

    def hold(self, reference: str) -> ModelRow:
        """The version, which is not removed before this transaction ends, or `NotFound`."""
        name = reference.partition("@")[0]
        held = select(ModelNameRow.name).where(ModelNameRow.name == name).with_for_update(read=True)
        if not ids.is_name(name) or self.session.execute(held).one_or_none() is None:
            raise NotFound("model", reference)
        return self.resolve(reference)

    def _check_unneeded(self, reference: str) -> None:
        unfinished = select(JobRow.id, JobRow.spec).where(
            JobRow.state.in_([JobState.QUEUED, JobState.RUNNING]),
            cast(JobRow.spec, Text).contains(f'"{reference}"', autoescape=True),
        )
        for job, spec in self.session.execute(unfinished):
            if reference in needed(spec):
                raise Conflict(f"the job {job}, which is not over, needs {reference}")

    def _moves(self, holder: ModelNameRow, row: ModelRow, promote: Promote) -> bool:
        """Whether the bare name moves to the new version; a name that means nothing yet always does."""
        if holder.current is None or promote == "always":
            return True
        if promote == "never" or row.error is None:
            return False
        before = self.resolve(row.name).error
        return before is None or row.error < before

    def _lock(self, name: str) -> ModelNameRow:
        """The name's row, held until the transaction ends: what happens to one name happens in turn."""
        rows = select(ModelNameRow).where(ModelNameRow.name == name)
        held = rows.with_for_update(key_share=True).execution_options(populate_existing=True)
        row = self.session.scalars(held).one_or_none() if ids.is_name(name) else None
        if row is None:
            raise NotFound("model", name)
        return row

    def _point(self, holder: ModelNameRow, version: int | None) -> None:
        if holder.current != version:
            for changed in (holder.current, version):
                self._touch(holder.name, changed)
            holder.current = version
            self.session.flush()

    def _touch(self, name: str, version: int | None) -> None:
        self.session.execute(
            update(ModelRow)
            .where(ModelRow.name == name, ModelRow.version == version)
            .values(revision=ModelRow.revision + 1)
        )


def sources(init: object) -> set[str]:
    """The earlier models from which a stored spec's `init` takes weights, wherever in it they stand."""
    if not isinstance(init, dict):
        return set()
    own = {str(init["source"])} if init.get("name") == "model" and "source" in init else set()
    return own.union(*(sources(value) for value in init.values()))


def needed(spec: Mapping[str, object]) -> set[str]:
    """The exact versions that a stored job needs until it is over: to begin, align or encode with.

    A training's `model` is the bare name of what is to come; `name@3` stands there in what encodes a dataset.
    """
    named = (spec.get(word) for word in ("model", "align_to"))
    return sources(spec.get("init")).union(word for word in named if isinstance(word, str) and "@" in word)


def _version(digits: str) -> int:
    """The number, or one that no version has where it would not fit the column."""
    return int(digits) if digits.isascii() and len(digits) < 10 else 0
