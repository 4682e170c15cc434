"""Write the pages that are made from the code: `catalog.md` and `openapi.json`.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 where one is stale
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from autoencoders.spec import FAMILIES
from service.openapi import text

HERE = Path(__file__).parent
TITLES = {"inits": "Inits: how the weights begin"}


def catalog_page() -> str:
    """Every word of every family with its formula, source and parameters."""
    parts = [
        "# The catalog",
        "",
        "Every word that a job may use. Made by `make docs` from the functions themselves.",
        "",
    ]
    for family, catalog in FAMILIES.items():
        parts += [f"## {TITLES.get(family, family.capitalize())}", ""]
        for entry in catalog:
            word = entry.describe()
            parts += [f"### `{word['name']}`", "", word["summary"], ""]
            if word["formula"]:
                parts += [f"- Formula: {word['formula']}"]
            if word["reference"]:
                parts += [f"- Source: {word['reference']}"]
            properties, required = word["parameters"]["properties"], word["parameters"].get("required", [])
            for name, schema in properties.items():
                default = "required" if name in required else f"default `{json.dumps(schema.get('default'))}`"
                parts += [f"- `{name}`: {_kind(schema)}; {default}"]
            parts += [""]
    return "\n".join(parts)


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(option) for option in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema or "oneOf" in schema:
        return "a word with parameters"
    kind = str(schema.get("type", "anything"))
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = [f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema]
    return f"{kind} {', '.join(limits)}" if limits else kind


PAGES = {
    "catalog.md": catalog_page,
    "openapi.json": text,
}


def main() -> int:
    """Write or check every page; the number of stale ones that were found."""
    stale = 0
    for name, page in PAGES.items():
        path, text = HERE / name, page()
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            stale += 1
            sys.stderr.write(f"docs/{name} is stale: run `make docs`\n")
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    sys.exit(min(main(), 1))
