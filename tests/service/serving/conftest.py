"""A gateway for each test of what is answered directly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service import direct
from tests.service.serving.on_a_port import Gateway, on_a_port


@pytest.fixture
def gateway(trained: Path) -> Iterator[Gateway]:
    with on_a_port(trained) as gateway:
        yield gateway


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What became of each request whose head was plain: whether it was answered directly."""
    found: list[bool] = []
    serve = direct.Direct.serve

    def serving(self: Any, *arguments: Any) -> bool:
        answered = serve(self, *arguments)
        found.append(answered)
        return answered

    monkeypatch.setattr(direct.Direct, "serve", serving)
    return found
