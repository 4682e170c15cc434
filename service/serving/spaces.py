"""Spaces: what the codes of a version may be compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


def space_of(manifest: Mapping[str, Any]) -> str:
    """An id of the code's meaning: equal encoders over equal scaling give equal codes, no others do."""
    told = manifest.get("space")
    if isinstance(told, str):
        return told
    architecture = (manifest.get("spec") or {}).get("architecture")
    # The architecture as well: the same tensors under another activation mean something else.
    hashes = manifest.get("hashes") or {}
    parts = [manifest.get("weights_sha256"), hashes.get("scaling.safetensors"), architecture]
    return "sp_" + hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
