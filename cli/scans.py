"""Small grey images drawn with letters, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHADES = " .:-=+*#%@"
GAP = "   "


def draw(scans: Sequence[Any], *, captions: Sequence[str] = ()) -> str:
    """Images of values in [0, 1], captions above; a pixel is two letters, which are twice as high as wide."""
    lines = [
        GAP.join(
            caption.ljust(2 * len(scan[0])) for caption, scan in zip(captions, scans, strict=True)
        ).rstrip()
    ]
    lines += [GAP.join(_line(row) for row in rows).rstrip() for rows in zip(*scans, strict=True)]
    return "\n".join(lines if captions else lines[1:])


def _line(row: Sequence[float]) -> str:
    return "".join(2 * SHADES[min(int(max(value, 0.0) * len(SHADES)), len(SHADES) - 1)] for value in row)
