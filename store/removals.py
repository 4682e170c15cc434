"""Removals: files whose row is gone, to be removed by the caretaker; none are forgotten, whoever crashes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.database import insert_all_missing, insert_missing, now
from store.tables import RemovalRow


class Removals:
    """What is still to be removed."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def ask(self, artifact: str) -> None:
        """Have these files removed once this transaction is committed."""
        insert_missing(self.session, RemovalRow, {"artifact": artifact, "asked_at": now(self.session)})

    def ask_all(self, artifacts: Sequence[str]) -> None:
        """Have all of these removed."""
        moment = now(self.session)
        insert_all_missing(
            self.session, RemovalRow, [{"artifact": key, "asked_at": moment} for key in artifacts]
        )

    def waiting(self, limit: int = 100) -> Sequence[str]:
        """The artifacts to remove, those that failed before last."""
        rows = select(RemovalRow.artifact).order_by(RemovalRow.problem.is_not(None), RemovalRow.asked_at)
        return self.session.scalars(rows.limit(limit)).all()

    def done(self, artifact: str) -> None:
        """The files are gone."""
        self.session.execute(delete(RemovalRow).where(RemovalRow.artifact == artifact))

    def failed(self, artifact: str, problem: str) -> None:
        """The files could not be removed this time."""
        self.session.execute(
            update(RemovalRow).where(RemovalRow.artifact == artifact).values(problem=problem[:1000])
        )
