"""A client that a generator made of the interface's description, without a warning, does the main job."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.house import ROOT, House

pytestmark = pytest.mark.system
DOCS = ROOT / "docs"
PAGE = (DOCS / "serving.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def block(language: str, word: str) -> str:
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in text]
    return str(found)


def test_a_generated_client_trains_and_encodes(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client.yml").write_bytes((DOCS / "client.yml").read_bytes())
    _, *words = shlex.split(block("console", "openapi-python-client").replace(ADDRESS, house.url))
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *words, "--fail-on-warning"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert "arning" not in made.stdout + made.stderr
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    exec(block("python", "hourglass_client").replace(ADDRESS, house.url), names)
    assert names["job"].state == "succeeded"
    assert names["job"].model.name == "mine"
    (code,) = names["codes"].codes
    assert len(code) == 8
    _sends_bytes_and_reads_problems(house)


def _sends_bytes_and_reads_problems(house: House) -> None:
    client = importlib.import_module("hourglass_client")
    encode = importlib.import_module("hourglass_client.api.inference.encode")
    types = importlib.import_module("hourglass_client.types")
    with client.Client(house.url) as session:
        raw = types.File(payload=bytes(4 * 64 * 2))
        assert len(encode.sync("mine", client=session, body=raw).codes) == 2
        refused = encode.sync("mine", client=session, body=types.File(payload=bytes(4 * 63)))
        assert refused.status == 422
        assert refused.errors[0].loc == ["body"]
