from __future__ import annotations

from pathlib import Path

import pytest

from cli.environment import KINDS, read_settings, settings_lines
from cli.errors import Refused
from tests.system.house import hourglass


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HOURGLASS_PORT", "abc", "HOURGLASS_PORT=abc: "),
        ("HOURGLASS_PORT", "70000", "HOURGLASS_PORT=70000: "),
        ("HOURGLASS_LEASE_SECONDS", "-1", "HOURGLASS_LEASE_SECONDS=-1: "),
        ("HOURGLASS_DEVICE", "tpu", "HOURGLASS_DEVICE=tpu: .*'gpu'"),
        ("HOURGLASS_DATABASE_URL", "mysql://host/name", "HOURGLASS_DATABASE_URL: .*postgresql://"),
        ("HOURGLASS_BROKER_URL", "amqp://host", "HOURGLASS_BROKER_URL: .*redis://"),
        ("HOURGLASS_URL_PREFIXES", "no list", "HOURGLASS_URL_PREFIXES: must be JSON"),
        (
            "HOURGLASS_BEAT_SECONDS",
            "20",
            "HOURGLASS_BEAT_SECONDS must be at most a third of HOURGLASS_LEASE_SECONDS",
        ),
        (
            "HOURGLASS_PROT",
            "8001",
            "HOURGLASS_PROT in the environment is no setting; did you mean HOURGLASS_PORT",
        ),
        (
            "HOURGLASS_ZZZ",
            "1",
            "HOURGLASS_ZZZ in the environment is no setting; `hourglass settings` lists all",
        ),
    ],
)
def test_a_wrong_variable_is_refused_in_one_line_that_names_it(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match=said) as refusal:
        read_settings()
    assert "\n" not in str(refusal.value)


def test_what_stands_in_a_secret_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_ADMIN_KEY", "tooshort")
    with pytest.raises(Refused, match="HOURGLASS_ADMIN_KEY") as refusal:
        read_settings()
    assert "tooshort" not in str(refusal.value)


def test_a_wrong_line_of_the_env_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HOURGLASS_HOMES=/data\n")
    with pytest.raises(
        Refused, match=r"HOURGLASS_HOMES in \.env is no setting; did you mean HOURGLASS_HOME\?"
    ):
        read_settings()


def test_every_setting_is_shown_with_its_value_and_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "HOURGLASS_PORT=8123\nHOURGLASS_DATABASE_URL=postgresql://me:hidden@db/house\n"
    )
    monkeypatch.setenv("HOURGLASS_ADMIN_KEY", "a key of the operator's own")
    monkeypatch.setenv("hourglass_log_level", "warning")
    lines = {line.name: line for line in settings_lines(read_settings())}
    assert set(lines) == {f"HOURGLASS_{field.upper()}" for kind in KINDS for field in kind.model_fields}
    assert (lines["HOURGLASS_PORT"].value, lines["HOURGLASS_PORT"].source) == ("8123", ".env")
    assert (lines["HOURGLASS_LOG_LEVEL"].value, lines["HOURGLASS_LOG_LEVEL"].source) == (
        "WARNING",
        "environment",
    )
    assert lines["HOURGLASS_HOST"].source == "default"
    assert "operator" not in lines["HOURGLASS_ADMIN_KEY"].value
    assert "hidden" not in lines["HOURGLASS_DATABASE_URL"].value
    assert "me:***@db" in lines["HOURGLASS_DATABASE_URL"].value
    assert all(line.meaning for line in lines.values()), "each says what it means"


@pytest.mark.parametrize(
    "command", [("settings",), ("serve",), ("work",), ("up",), ("migrate",), ("keys", "list")]
)
def test_every_command_refuses_a_wrong_setting_without_a_traceback(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    outcome = hourglass(*command, cwd=tmp_path, HOURGLASS_HOME=str(tmp_path / "home"), HOURGLASS_PORT="abc")
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("hourglass: HOURGLASS_PORT=abc: ")
    assert outcome.stderr.count("\n") == 1
