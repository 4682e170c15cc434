"""What runs needs nothing that only developers install."""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
#: By each package, the extra that brings what it needs.
EXTRAS = {"autoencoders": "", "store": "store", "service": "service", "worker": "worker", "cli": "cli"}
#: Imported behind a check that it is there: PyTorch computes without it.
OPTIONAL = {"onnx", "onnxruntime"}


@cache
def installed_with(name: str, extra: str) -> frozenset[str]:
    """Every distribution that comes with one of ours or theirs, by normalised name."""
    found = {name}
    waiting = [(name, extra)]
    seen = set()
    while waiting:
        asked = waiting.pop()
        if asked in seen:
            continue
        seen.add(asked)
        try:
            lines = metadata.requires(asked[0]) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": asked[1]}):
                found.add(_normal(requirement.name))
                waiting += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
    return frozenset(found)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def imported(package: str) -> dict[str, Path]:
    """The modules from elsewhere that a package imports, and a file that does."""
    found: dict[str, Path] = {}
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], path)
    return {name: path for name, path in found.items() if name not in {*EXTRAS, *sys.stdlib_module_names}}


@pytest.mark.parametrize("package", EXTRAS)
def test_a_package_imports_only_what_its_extra_installs(package: str) -> None:
    owners = metadata.packages_distributions()
    comes = installed_with("hourglass", EXTRAS[package])
    missing = {
        name: str(path.relative_to(ROOT))
        for name, path in imported(package).items()
        if name not in OPTIONAL and not {_normal(each) for each in owners.get(name, [])} & comes
    }
    assert not missing
