from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.errors import Refused
from cli.main import app
from store import Keys, Store, StoreError, StoreSettings


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOURGLASS_HOME", str(tmp_path / "home"))


def _run(*words: str) -> tuple[str, str]:
    outcome = CliRunner().invoke(app, ["keys", *words], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout, outcome.stderr


def test_a_key_is_shown_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    secret, told = _run("issue", "--scope", "train", "--scope", "read", "--name", "a colleague")
    assert secret.startswith("hg_")
    assert secret.count("\n") == 1, "nothing but the key on stdout"
    assert "a colleague" in told
    store = Store.open(StoreSettings())
    try:
        with store.session() as session:
            row = Keys(session).check(secret.strip())
        assert row is not None
        assert set(row.scopes) == {"read", "train"}
    finally:
        store.close()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "home").glob("hourglass.db*"))
    assert secret.strip().encode() not in kept


def test_a_listed_key_can_be_revoked_and_is_listed_as_such() -> None:
    _run("issue", "--scope", "read", "--name", "first")
    _run("issue", "--scope", "infer", "--name", "second", "--days", "3")
    listed, _ = _run("list")
    [second, first] = [line.split("\t") for line in listed.splitlines()]
    assert (first[-1], first[1]) == ("first", "valid")
    assert second[-1] == "second"
    assert second[1].startswith("valid until")
    _run("revoke", first[0])
    listed, _ = _run("list")
    assert [line.split("\t")[1] for line in listed.splitlines()][1] == "revoked"


@pytest.mark.parametrize("words", [("issue", "--scope", "everything"), ("revoke", "key_nobody")])
def test_what_cannot_be_done_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises((Refused, StoreError), match=words[-1]):
        CliRunner().invoke(app, ["keys", *words], catch_exceptions=False)


def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    _run("list")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / "hourglass.db").is_file()
