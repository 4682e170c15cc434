"""What every test stands on: no settings from outside, and threads that sleep while they wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Read when torch is imported: threads that spin while they wait take the cores from what tests start.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("HOURGLASS_")]:
            patch.delenv(name)
        yield
