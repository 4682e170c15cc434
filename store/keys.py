"""Keys: issue (shown once), check, revoke; only hashes are kept.

A key is `hg_<id>_<32 random bytes>`: with that much chance in it a plain SHA-256 is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from store import ids, pages
from store.database import now
from store.errors import BadName, NotFound
from store.pages import Page
from store.tables import KeyRow

SCOPES = ("read", "train", "infer", "admin")


class Keys:
    """The API keys."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def issue(
        self, *, name: str, scopes: Iterable[str], expires_at: datetime | None = None
    ) -> tuple[KeyRow, str]:
        """A new key: its row, and the secret, which is shown this once."""
        wanted = set(scopes)
        if unknown := wanted - set(SCOPES):
            raise BadName("scope", sorted(unknown)[0], f"there are {', '.join(SCOPES)}")
        if not wanted:
            raise BadName("scope", "", f"a key needs at least one of {', '.join(SCOPES)}")
        if not 1 <= len(name) <= 128 or not name.isprintable():
            raise BadName("key's name", name, "1 to 128 printable characters")
        identity = ids.new("key")
        secret = f"hg_{identity.removeprefix('key_')}_{secrets.token_urlsafe(32)}"
        row = KeyRow(
            id=identity,
            name=name,
            sha256=_hash(secret),
            scopes=[scope for scope in SCOPES if scope in wanted],
            created_at=now(self.session),
            expires_at=expires_at,
        )
        self.session.add(row)
        self.session.flush()
        return row, secret

    def check(self, secret: str) -> KeyRow | None:
        """The key that this secret belongs to, if it is in force."""
        prefix, _, rest = secret.partition("_")
        identity = f"key_{rest.partition('_')[0]}"
        if prefix != "hg" or not ids.is_id(identity, "key"):
            return None
        row = self.session.scalars(select(KeyRow).where(KeyRow.id == identity, *self._active())).one_or_none()
        if row is None or not hmac.compare_digest(row.sha256, _hash(secret)):
            return None
        return row

    def get(self, key_id: str) -> KeyRow:
        """The key's row, or `NotFound`."""
        row = self.session.get(KeyRow, key_id) if ids.is_id(key_id, "key") else None
        if row is None:
            raise NotFound("key", key_id)
        return row

    def revoke(self, key_id: str) -> KeyRow:
        """End a key for good; the row stays, so that its jobs still say whose they were."""
        row = self.get(key_id)
        if row.revoked_at is None:
            row.revoked_at = now(self.session)
            self.session.flush()
        return row

    def page(self, *, limit: int = 50, after: str | None = None) -> Page[KeyRow]:
        """All keys ever issued, newest first."""
        return pages.fetch(self.session, select(KeyRow), KeyRow.id, limit=limit, after=after)

    def any_active(self) -> bool:
        """Whether any key is in force."""
        return bool(self.session.execute(select(exists().where(*self._active()))).scalar_one())

    def _active(self) -> tuple[ColumnElement[bool], ...]:
        unexpired = or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now(self.session))
        return KeyRow.revoked_at.is_(None), unexpired


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
