from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from store import StoreSettings, socket_path
from tests.store.conftest import settings_for


def test_everything_has_a_place_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = StoreSettings(home=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/hourglass.db"
    assert settings.artifacts == f"{tmp_path}/artifacts"
    assert settings.broker == f"redis+socket://{socket_path(tmp_path)}?virtual_host=0"
    assert settings.uploads == tmp_path / "uploads"


def test_variables_and_env_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".env").write_text(
        "HOURGLASS_LEASE_SECONDS=7\nHOURGLASS_HOME=~/here\nHOURGLASS_BROKER_URL=\nOTHER=1\n"
    )
    monkeypatch.setenv("HOURGLASS_LOG_LEVEL", "debug")
    settings = StoreSettings()
    assert (settings.lease_seconds, settings.log_level, settings.broker_url) == (7, "DEBUG", None)
    assert settings.home == tmp_path / "here"


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d"])
def test_postgresql_is_spoken_to_by_psycopg_however_it_is_written(url: str, tmp_path: Path) -> None:
    assert settings_for(tmp_path, database_url=url).database == "postgresql+psycopg://h/d"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://h/d"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite:///:memory:"),
        ("database_url", "/a/file.db"),
        ("broker_url", "amqp://h"),
        ("broker_url", "host:6379"),
        ("lease_seconds", 0),
        ("idempotency_hours", 1),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refused:
        settings_for(tmp_path, **{name: value})
    (problem,) = refused.value.errors()
    assert problem["loc"] == (name,)


def test_the_brokers_socket_is_short_and_each_homes_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    plain = socket_path(deep)
    assert plain.parent.parent == Path("/tmp")
    assert str(os.getuid()) in plain.parent.name
    assert plain != socket_path(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    assert socket_path(deep).parent.parent == Path("/tmp")
    deep.mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    assert socket_path(deep) == plain, "a runtime folder too deep for a socket is not used"
