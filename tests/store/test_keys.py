from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from store import Keys, NotFound, Store
from store.database import now
from store.errors import BadName
from store.tables import KeyRow


def test_a_key_is_shown_once_and_known_by_its_hash_alone(store: Store) -> None:
    with store.transaction() as session:
        row, secret = Keys(session).issue(name="laptop", scopes=["train", "read"])
    assert secret.startswith(f"hg_{row.id.removeprefix('key_')}_")
    assert row.scopes == ["read", "train"]
    with store.session() as session:
        kept = Keys(session).get(row.id)
        assert all(secret not in str(getattr(kept, column.key)) for column in KeyRow.__table__.columns)
        found = Keys(session).check(secret)
    assert found is not None
    assert found.id == row.id
    assert found.allows("train")
    assert not found.allows("infer")
    assert not found.allows("admin")


def test_an_admin_may_everything(store: Store) -> None:
    with store.transaction() as session:
        row, _ = Keys(session).issue(name="root", scopes=["admin"])
    assert all(row.allows(scope) for scope in ("read", "train", "infer", "admin"))


def test_a_wrong_secret_is_nobodys(store: Store) -> None:
    with store.transaction() as session:
        _, secret = Keys(session).issue(name="a", scopes=["read"])
        _, other = Keys(session).issue(name="b", scopes=["read"])
    mixed = "_".join([*secret.split("_", 2)[:2], other.split("_", 2)[2]])
    with store.session() as session:
        for wrong in (
            "",
            "hg_",
            "hg__",
            secret[:-1],
            secret + "x",
            mixed,
            secret.upper(),
            "hg_\x00_x",
            "\udcff",
            "é",
        ):
            assert Keys(session).check(wrong) is None


def test_a_revoked_or_expired_key_is_no_longer_in_force(store: Store) -> None:
    with store.transaction() as session:
        keys = Keys(session)
        assert not keys.any_active()
        revoked, revoked_secret = keys.issue(name="a", scopes=["read"])
        expired, expired_secret = keys.issue(
            name="b", scopes=["read"], expires_at=now(session) + timedelta(hours=1)
        )
        assert keys.any_active()
        keys.revoke(revoked.id)
    with store.transaction() as session:
        assert Keys(session).check(expired_secret) is not None
        past = now(session) - timedelta(seconds=1)
        session.execute(update(KeyRow).where(KeyRow.id == expired.id).values(expires_at=past))
    with store.transaction() as session:
        keys = Keys(session)
        assert keys.check(revoked_secret) is None
        assert keys.check(expired_secret) is None
        assert not keys.any_active()
        assert keys.revoke(revoked.id).revoked_at == keys.get(revoked.id).revoked_at
        assert [row.id for row in keys.page().items] == [expired.id, revoked.id]


def test_a_key_without_sense_is_refused(store: Store) -> None:
    with store.transaction() as session:
        keys = Keys(session)
        for name, scopes in [
            ("a", ["root"]),
            ("a", []),
            ("", ["read"]),
            ("x" * 129, ["read"]),
            ("a\x00", ["read"]),
        ]:
            with pytest.raises(BadName):
                keys.issue(name=name, scopes=scopes)
        with pytest.raises(NotFound):
            keys.revoke("key_nobody")
