"""The rules that every file of the house obeys."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("autoencoders", "store", "service", "worker", "cli")
DRAWERS = {
    "utils",
    "helpers",
    "common",
    "misc",
    "manager",
    "handler",
    "processor",
    "base",
    "core",
    "shared",
    "lib",
    "impl",
}
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "versions" not in path.parts
)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_room_is_small_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "a room of over 400 lines holds two things"
    documentation = ast.get_docstring(ast.parse(text))
    assert documentation, "the first line of a module says what the room is for"
    assert documentation.splitlines()[0].endswith((".", ":")), "its first line is a sentence"


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_room_is_named_for_what_it_holds(path: Path) -> None:
    assert not DRAWERS & set(re.split(r"[_.]", path.name)), "a drawer is no room"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Manager|Handler|Processor|Factory|Service|Helper|Impl)$", node.name), (
                node.name
            )


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_no_function_is_longer_than_a_page(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name != "randomness.py"], ids=ids)
def test_no_global_seed_is_set(path: Path) -> None:
    assert not re.search(r"torch\.manual_seed|np\.random\.seed|random\.seed\(", path.read_text())


def test_nothing_generated_is_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert not [name for name in listed if re.search(r"(\.pyc|\.egg-info/|\.db|\.sqlite)$", name)]
