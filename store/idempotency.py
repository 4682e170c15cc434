"""Idempotency: the first answer to a caller's Idempotency-Key, given again to the same request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.database import insert_missing, now
from store.errors import BadName, Conflict
from store.tables import IdempotencyRow

_IN_FLIGHT = "the first request with this Idempotency-Key is still being answered"


@dataclass(frozen=True)
class Stored:
    """An answer that was given before."""

    status: int
    headers: dict[str, str]
    body: bytes


class Idempotency:
    """The keys that callers sent with what they asked for; a caller sees only its own."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def begin(
        self,
        key: str,
        caller: str | None,
        route: str,
        body_sha256: str,
        *,
        in_flight_seconds: float = 60,
    ) -> Stored | None:
        """The answer given before, or None: then do it, and `complete` or `abandon`.

        `Conflict` where the key came with another request, or where the same one is being answered right now;
        one begun longer ago than `in_flight_seconds` is taken for a gateway's that died, and done again.
        """
        if not 1 <= len(key) <= 255 or not key.isprintable():
            raise BadName("idempotency key", key, "1 to 255 printable characters")
        moment = now(self.session)
        fresh = {"route": route, "body_sha256": body_sha256, "begun_at": moment}
        before = self._row(key, caller)
        if before is None:
            if insert_missing(self.session, IdempotencyRow, {"caller": caller or "", "key": key, **fresh}):
                return None
            before = self._row(key, caller)  # somebody was faster; it may be gone again, if that one failed
            if before is None:
                raise Conflict(_IN_FLIGHT)
        if (answer := _answer(before, route, body_sha256)) is not None:
            return answer
        if before.begun_at > moment - timedelta(seconds=in_flight_seconds):
            raise Conflict(_IN_FLIGHT)
        before.begun_at = moment
        return None

    def given(self, key: str, caller: str | None, route: str, body_sha256: str) -> Stored | None:
        """The answer given before, or None; `Conflict` as for `begin`. A look that takes no lock."""
        row = self.session.get(IdempotencyRow, (caller or "", key)) if key.isprintable() else None
        return None if row is None else _answer(row, route, body_sha256)

    def complete(
        self, key: str, caller: str | None, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Keep the answer for whoever asks again."""
        row = self._row(key, caller)
        if row is not None:
            row.status, row.headers, row.body = status, dict(headers), body

    def abandon(self, key: str, caller: str | None) -> None:
        """Forget the key, since nothing was done: asking again is asking anew."""
        row = self._row(key, caller)
        if row is not None and row.status is None:
            self.session.delete(row)

    def forget(self, older_than_hours: float) -> int:
        """Forget answers that are that old; answers how many."""
        since = now(self.session) - timedelta(hours=older_than_hours)
        gone = delete(IdempotencyRow).where(IdempotencyRow.begun_at < since)
        return len(self.session.scalars(gone.returning(IdempotencyRow.key)).all())

    def _row(self, key: str, caller: str | None) -> IdempotencyRow | None:
        rows = select(IdempotencyRow).where(
            IdempotencyRow.caller == (caller or ""), IdempotencyRow.key == key
        )
        held = rows.with_for_update(key_share=True).execution_options(populate_existing=True)
        return self.session.scalars(held).one_or_none()


def _answer(row: IdempotencyRow, route: str, body_sha256: str) -> Stored | None:
    if (row.route, row.body_sha256) != (route, body_sha256):
        raise Conflict("this Idempotency-Key came with another request before")
    if row.status is None:
        return None
    headers = {name: str(value) for name, value in (row.headers or {}).items()}
    return Stored(row.status, headers, row.body or b"")
