"""What every test stands on: no settings from outside, and threads that sleep while they wait."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

# Read when torch is imported: threads that spin while they wait take the cores from what tests start.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Else all that is imported and collected is looked through again and again: a fifth of the time of all tests.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    """What is here now stays until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith("HOURGLASS_")]:
            patch.delenv(name)
        yield
