"""Print what some extras of a pyproject.toml need, without the project itself.

python3 requirements.py pyproject.toml cli postgres
"""

import re
import sys
import tomllib
from pathlib import Path

EXTRAS_OF_ITS_OWN = re.compile(r"^hourglass\[([a-z0-9,]+)\]$")


def requirements(project: dict, extras: list[str]) -> list[str]:
    """The project's dependencies and those of the extras, with extras that name other extras followed."""
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            inner = EXTRAS_OF_ITS_OWN.match(line)
            found += requirements(project, inner.group(1).split(",")) if inner else [line]
    return sorted(set(found))


if __name__ == "__main__":
    described = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
    sys.stdout.write("\n".join(requirements(described, sys.argv[2:])) + "\n")
