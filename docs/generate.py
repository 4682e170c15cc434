"""Write the pages that are made from the code: `catalog.md`, `reference.md` and `openapi.json`.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 where one is stale
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings

import service.metrics
from autoencoders.spec import FAMILIES
from cli.main import app as commands
from service.openapi import text
from service.problems import ALL_KINDS, TYPE_PREFIX
from service.settings import ServiceSettings
from worker.metrics import Metrics
from worker.settings import WorkerSettings

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


def reference_page() -> str:
    """Every setting, command, problem type and metric."""
    parts = ["# Reference", "", "Made by `make docs` from the code.", "", "## Commands", ""]
    parts += [f"- `hourglass {name}`: {summary}" for name, summary in _commands()]
    parts += ["", "## Settings", "", "Environment variables, or lines of `.env`.", ""]
    parts += ["| variable | default | meaning |", "| --- | --- | --- |"]
    parts += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _settings()]
    parts += ["", "## Problem types", "", "| type | status | title |", "| --- | --- | --- |"]
    kinds = sorted({(kind.status, kind.slug, kind.title) for kind in ALL_KINDS})
    parts += [f"| `{TYPE_PREFIX}{slug}` | {status} | {title} |" for status, slug, title in kinds]
    parts += ["", "## Metrics", "", "| series | kind | meaning |", "| --- | --- | --- |"]
    for registry in (service.metrics.registry, Metrics().registry):
        parts += [f"| `{name}` | {kind} | {meaning} |" for name, kind, meaning in _metrics(registry)]
    return "\n".join([*parts, ""])


def _commands() -> Iterator[tuple[str, str]]:
    group: Any = typer.main.get_command(commands)
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        for word, part in inner.items() if inner else [("", command)]:
            summary = " ".join((part.help or "").partition("\n\n")[0].split())
            yield f"{name} {word}".strip(), summary


def _settings() -> Iterator[tuple[str, str, str]]:
    seen = set()
    of_both: tuple[type[BaseSettings], ...] = (ServiceSettings, WorkerSettings)
    for settings in of_both:
        for name, field in settings.model_fields.items():
            if name not in seen:
                seen.add(name)
                default = "unset" if field.default in (None, ()) else f"`{field.default}`"
                yield f"HOURGLASS_{name.upper()}", default, field.description or ""


def _metrics(registry: CollectorRegistry) -> Iterator[tuple[str, str, str]]:
    for metric in registry.collect():
        total = "_total" if metric.type == "counter" else ""
        yield metric.name + total, metric.type, metric.documentation


PAGES = {
    "catalog.md": catalog_page,
    "reference.md": reference_page,
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
