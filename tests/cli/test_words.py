from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.system.house import clean_environment, hourglass


def test_every_family_and_every_word_of_one_is_printed(tmp_path: Path) -> None:
    families = hourglass("catalog", cwd=tmp_path).stdout
    assert "inits: " in families
    assert "orthogonal" in families
    words = hourglass("catalog", "activations", cwd=tmp_path).stdout
    assert "leaky_relu(slope=0.1)" in words


def test_an_unknown_family_is_refused_with_the_nearest(tmp_path: Path) -> None:
    outcome = hourglass("catalog", "init", cwd=tmp_path)
    assert outcome.returncode == 2
    assert "did you mean inits?" in outcome.stderr


def test_help_comes_without_torch_or_a_database(tmp_path: Path) -> None:
    program = "import sys, cli.main; assert not {'torch', 'sqlalchemy', 'fastapi'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=clean_environment(), check=True)
