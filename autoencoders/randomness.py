"""One seed, many named streams: every draw of the house comes from a generator made here.

No global seed is ever set. A stream is a pure function of (seed, name), so that adding a layer changes no
other layer's weights, and a resumed job meets the same order of rows.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed derived from `seed` and a path of names: the same on every machine, in every process."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one named stream, such as `generator(7, "init", "encoder.0")`."""
    stream = torch.Generator(device=device)
    stream.manual_seed(stream_seed(seed, *names))
    return stream
