"""KServe's own client, unmodified, in an interpreter of its own: its pins do not go with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoencoders import bundle
from tests.service.v2.asking import expected
from tests.service.v2.conftest import some_rows

VERSION = "0.21.0"
STORY = Path(__file__).with_name("kserve_story.py")


@pytest.fixture(scope="module")
def python(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has kserve: `KSERVE_PYTHON` where it is set, else one that is made once."""
    given = os.environ.get("KSERVE_PYTHON")
    if given:
        return Path(given)
    cache = getattr(pytestconfig, "cache", None)
    folder: Path = (cache.mkdir("kserve") if cache else tmp_path_factory.mktemp("kserve")) / VERSION
    found = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", f"kserve=={VERSION}"], check=True)
        (folder / "complete").touch()
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kserves_client_is_served(
    python: Path, address: str, digits: bundle.TrainedModel, tmp_path: Path
) -> None:
    rows = some_rows()
    arrays: dict[str, Any] = expected(digits, rows)
    np.savez(tmp_path / "expected.npz", rows=rows, **arrays)
    told = subprocess.run(
        [python, STORY, f"http://{address}", tmp_path / "expected.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("the story is told\n")
