"""Draws the record of `initialisation.py` for the documentation: `docs/initialisation.svg`.

python benchmarks/draw_initialisation.py
"""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "results" / "initialisation.json"
DRAWING = Path(__file__).parent.parent / "docs" / "initialisation.svg"
LABELS, WIDTH, LINE = 260, 460, 20
LEAST, GREATEST = 4.0, 60.0


def place(error: float) -> float:
    """Where an error lies across, on a logarithmic scale."""
    share = math.log(error / LEAST) / math.log(GREATEST / LEAST)
    return LABELS + WIDTH * min(max(share, 0.0), 1.0)


def bar(row: dict[str, Any], top: float) -> str:
    """One start: its name, a bar to its mean error, the number."""
    end, middle = place(row["error"]), top + LINE / 2 + 4
    return (
        f'<text x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(row["row"])}</text>'
        f'<rect x="{LABELS}" y="{top + 3}" width="{end - LABELS:.1f}" height="{LINE - 6}" fill="#4a7ab0"/>'
        f'<text x="{end + 5:.1f}" y="{middle}">{row["error"]:.2f}</text>'
    )


def drawing(record: dict[str, Any]) -> str:
    """The chart: every start by its error, best first, and the two yardsticks as lines."""
    rows = sorted((row for row in record["table"] if row["error"] is not None), key=lambda row: row["error"])
    height = LINE * (len(rows) + 2)
    lines = [
        f'<line x1="{place(error):.1f}" x2="{place(error):.1f}" y1="{LINE}" y2="{height - LINE}" '
        f'stroke="#b04a4a" stroke-dasharray="4 3"/>'
        f'<text x="{place(error):.1f}" y="{LINE - 6}" text-anchor="middle" fill="#b04a4a">{name}</text>'
        for name, error in (("PCA", record["baselines"]["pca"]), ("mean image", record["baselines"]["mean"]))
    ]
    bars = [bar(row, LINE * (index + 1)) for index, row in enumerate(rows)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LABELS + WIDTH + 60} {height}" '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *bars,
            *lines,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Write the drawing."""
    DRAWING.write_text(drawing(json.loads(RECORD.read_text())))


if __name__ == "__main__":
    main()
