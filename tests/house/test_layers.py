"""The dependency rule, and that it bites."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def copy_of_the_house(destination: Path) -> Path:
    for package in ("autoencoders", "store", "service", "worker", "cli"):
        shutil.copytree(ROOT / package, destination / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", destination)
    return destination


def test_the_house_keeps_its_contracts() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("service/app.py", "import worker.run"),
        ("worker/run.py", "import service.app"),
        ("store/jobs.py", "import torch"),
        ("store/jobs.py", "import numpy"),
        ("store/jobs.py", "import autoencoders.spec"),
        ("autoencoders/spec.py", "import fastapi"),
        ("autoencoders/spec.py", "import store.jobs"),
        ("autoencoders/catalog.py", "import autoencoders.spec"),
        ("autoencoders/experiment.py", "import autoencoders.study.planning"),
        ("service/app.py", "import cli.main"),
    ],
)
def test_a_wrong_import_is_refused(room: str, line: str, tmp_path: Path) -> None:
    house = copy_of_the_house(tmp_path)
    with (house / room).open("a") as file:
        file.write(f"\n{line}\n")
    outcome = lint_imports(house)
    assert outcome.returncode != 0
    assert "BROKEN" in outcome.stdout
