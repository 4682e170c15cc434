"""Keyset pagination: newest first, each row exactly once, however many are added meanwhile."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from store import ids
from store.errors import BadCursor

T = TypeVar("T")
MAX_LIMIT = 1000


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows, and the opaque `next` with which to ask for those after them (None at the end)."""

    items: Sequence[T]
    next: str | None


def fetch(
    session: Session,
    rows: Select[T],
    key: InstrumentedAttribute[str],
    *,
    limit: int,
    after: str | None,
) -> Page[T]:
    """One page of these rows in descending order of `key`, which is a unique, sortable id."""
    limit = max(1, min(limit, MAX_LIMIT))
    if after is not None:
        rows = rows.where(key < _read(after))
    found = session.scalars(rows.order_by(key.desc()).limit(limit + 1)).all()
    items = found[:limit]
    return Page(items, _write(str(getattr(items[-1], key.key))) if len(found) > limit else None)


def _write(identity: str) -> str:
    return base64.urlsafe_b64encode(identity.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    try:
        identity = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError) as problem:
        raise BadCursor(cursor) from problem
    if not ids.is_id(identity) or _write(identity) != cursor:
        raise BadCursor(cursor)
    return identity
