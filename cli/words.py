"""`hourglass catalog`: the words of a job, as the code itself knows them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from cli.errors import Refused


def print_words(family: str | None) -> None:
    """Print every word of one family with its parameters, or the words of all families.

    Raises:
        Refused: there is no such family.
    """
    from autoencoders import FAMILIES

    if family is None:
        for catalog in FAMILIES.values():
            print(f"{catalog.family}: {', '.join(catalog.names())}")
        return
    if family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Refused(f"there is no family {family!r}{hint} There are {', '.join(FAMILIES)}")
    for entry in FAMILIES[family]:
        word = entry.describe()
        print(f"{word['name']}({_signature(word['parameters'])})")
        print(f"    {word['summary']}" + (f"  [{word['reference']}]" if word["reference"] else ""))


def _signature(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    return ", ".join(
        name if name in required else f"{name}={_default(each)}"
        for name, each in schema.get("properties", {}).items()
    )


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return str(default["name"]) if isinstance(default, Mapping) and "name" in default else repr(default)
