"""Numbers and small pictures of a report's page, as text and inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, PAD = 640, 260, 44
COLOURS = ("#1f6feb", "#d1242f", "#8250df")
_LEAST = 1e-30

Points = Sequence[tuple[float | None, float | None]]


class Scale:
    """From numbers to places in the picture; on a logarithmic one, the numbers are powers of ten."""

    def __init__(self, points: Sequence[tuple[float, float]], *, logarithmic: bool = False) -> None:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        self.left, self.right, self.low, self.high = min(xs), max(xs), min(ys), max(ys)
        self._logarithmic = logarithmic

    def place(self, x: float, y: float) -> str:
        """`x,y` in the picture."""
        across = (x - self.left) / ((self.right - self.left) or 1.0)
        up = (y - self.low) / ((self.high - self.low) or 1.0)
        return f"{PAD + across * (WIDTH - 2 * PAD):.1f},{HEIGHT - PAD - up * (HEIGHT - 2 * PAD):.1f}"

    def axes(self, across: str) -> str:
        """The ends of both axes, in words."""
        low, high = (10**end if self._logarithmic else end for end in (self.low, self.high))
        marks = [
            (2, HEIGHT - PAD, f"{low:.3g}"),
            (2, PAD, f"{high:.3g}"),
            (PAD, HEIGHT - 14, f"{self.left:g}"),
            (WIDTH - PAD, HEIGHT - 14, f"{self.right:g} ({across})"),
        ]
        anchors = ("start", "start", "start", "end")
        return "".join(
            f"<text x={x} y={y} font-size=12 fill='#656d76' text-anchor={anchor}>{escape(text)}</text>"
            for (x, y, text), anchor in zip(marks, anchors, strict=True)
        )


def lines(series: Sequence[tuple[str, Points]], across: str, *, logarithmic: bool = False) -> str:
    """Up to three named lines in one picture; nothing where no point is known."""
    drawn = [(name, _known(points, logarithmic=logarithmic)) for name, points in series]
    known = [point for _, points in drawn for point in points]
    if not known:
        return ""
    scale = Scale(known, logarithmic=logarithmic)
    parts = []
    for index, ((name, points), colour) in enumerate(zip(drawn, COLOURS, strict=False)):
        path = " ".join(scale.place(x, y) for x, y in points)
        parts.append(f"<polyline fill=none stroke='{colour}' stroke-width=2 points='{path}'/>")
        parts.append(f"<text x='{PAD + 180 * index}' y=18 fill='{colour}' font-size=13>{escape(name)}</text>")
    return svg("".join(parts) + scale.axes(across))


def _known(points: Points, *, logarithmic: bool) -> list[tuple[float, float]]:
    whole = [(x, y) for x, y in points if x is not None and y is not None]
    if not logarithmic:
        return whole
    return [(x, math.log10(max(y, _LEAST))) for x, y in whole if y >= 0.0]


def svg(inside: str, *, height: int = HEIGHT) -> str:
    """A picture of the page's usual width."""
    return f"<svg viewBox='0 0 {WIDTH} {height}' role=img>{inside}</svg>"


def as_float(value: Any) -> float | None:
    """A number of a report, or None for whatever else stands there."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def number(value: Any) -> str:
    """A number for a reader, to five digits."""
    found = as_float(value)
    return "not known" if found is None else f"{found:.5g}"
