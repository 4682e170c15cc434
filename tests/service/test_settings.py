from __future__ import annotations

import pytest

from service.errors import SettingsRefused
from service.settings import OPEN_WORDS, is_loopback, read_settings


def test_the_defaults_are_on_loopback() -> None:
    settings = read_settings()
    assert is_loopback(settings.host)
    assert not settings.is_open
    assert settings.url_prefixes == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOURGLASS_PORT", "many"),
        ("HOURGLASS_PORT", "70000"),
        ("HOURGLASS_OPEN", "yes"),
        ("HOURGLASS_ADMIN_KEY", "short"),
        ("HOURGLASS_BODY_LIMIT_BYTES", "0"),
        ("HOURGLASS_URL_PREFIXES", '["file:///etc"]'),
        ("HOURGLASS_INFERENCE_DEVICE", "tpu"),
        ("HOURGLASS_DATABASE_URL", "mysql://x"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefused) as caught:
        read_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


def test_a_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_ADMIN_KEY", "a-secret-of-some-length")
    assert "a-secret" not in repr(read_settings())


def test_open_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_OPEN", OPEN_WORDS)
    assert read_settings().is_open


def test_what_compose_sets_to_nothing_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_OPEN", "")
    monkeypatch.setenv("HOURGLASS_ADMIN_KEY", "")
    assert not read_settings().is_open
    assert read_settings().admin_key is None


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("a.b", False),
    ],
)
def test_what_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local
