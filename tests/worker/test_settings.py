"""What a worker is told, and what it tells its child."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.settings import WorkerSettings


def test_a_child_reads_the_settings_its_parent_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = WorkerSettings(
        home=tmp_path,
        device="cpu",
        threads=2,
        checkpoint_seconds=1.5,
        database_url=f"sqlite:///{tmp_path}/x.db",
    )
    for name, value in settings.as_environment().items():
        assert name.startswith("HOURGLASS_")
        monkeypatch.setenv(name, value)
    assert WorkerSettings() == settings


def test_beats_must_fit_into_the_lease(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="at most a third of lease_seconds"):
        WorkerSettings(home=tmp_path, beat_seconds=11, lease_seconds=30)


def test_a_limit_may_be_said_in_gigabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOURGLASS_MEMORY_LIMIT_BYTES", "4GB")
    assert WorkerSettings(home=tmp_path).memory_limit_bytes == 4_000_000_000
