"""One house for all the stories that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("system") / "home") as house:
        yield house
