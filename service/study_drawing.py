"""The pictures of a study's page, as inline SVG: learning curves, a heat map, intervals beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from service.report_drawing import HEIGHT, PAD, WIDTH, Scale, number, svg

COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#bf8700", "#1a7f37", "#bc4c00", "#0a8a8a", "#bf3989")
"""Of the first cells of a ranking; all others are grey. Each is legible on white and on black."""
GREY = "#8b949e"
Points: TypeAlias = Sequence[tuple[float, float]]
_STEPS = (1.0, 2.0, 5.0)
# In powers of ten.
_FAR = 0.7
# Between the numbers of two lines, from base to base.
_BETWEEN = 11
_LABEL, _BAR = 150, 160
# From little to much error: light enough for black letters, dark enough for white ones.
_COLD, _WARM = (13, 110, 92), (247, 213, 150)


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: shown where a pointer rests on it.
        points: epochs and held-out error.
        place: in the ranking, from 1.
    """

    name: str
    points: Points
    place: int


def colour_of(place: int) -> str:
    """The colour of the cell at this place of the ranking, from 1."""
    return COLOURS[place - 1] if place <= len(COLOURS) else GREY


def curves(drawn: Sequence[Curve], marks: Mapping[str, float | None]) -> str:
    """Learning curves over a logarithmic error; nothing where no point is known.

    Args:
        drawn: the lines; those of the first places are coloured, and numbered where they end.
        marks: errors to compare with, as dashed lines across, by their names.
    """
    lines = [(curve, _logarithms(curve.points)) for curve in drawn]
    lines = [(curve, points) for curve, points in lines if points]
    if not lines:
        return ""
    known = [point for _, points in lines for point in points]
    levels = {name: level for name, level in _levels(marks).items() if _is_near(level, known)}
    left, right = min(x for x, _ in known), max(x for x, _ in known)
    scale = Scale([*known, *((right, level) for level in levels.values())], logarithmic=True)
    parts = [_grid(scale), *(_across(scale, name, level, left, right) for name, level in levels.items())]
    parts += [_line(scale, *line) for line in sorted(lines, key=lambda line: -line[0].place)]
    parts += _numbers(scale, [line for line in lines if line[0].place <= len(COLOURS)])
    parts.append(_text(WIDTH - PAD, HEIGHT - 8, "epochs", "end"))
    return svg("".join(parts))


def _logarithms(points: Points) -> Points:
    return [(x, math.log10(y)) for x, y in points if y > 0 and math.isfinite(y)]


def _levels(marks: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.log10(error) for name, error in marks.items() if error is not None and error > 0}


def _is_near(level: float, points: Points) -> bool:
    """Whether a level lies so that the lines are not squeezed together for it."""
    heights = [y for _, y in points]
    return min(heights) - _FAR <= level <= max(heights) + _FAR


def _line(scale: Scale, curve: Curve, points: Points) -> str:
    colour, width = colour_of(curve.place), 2 if curve.place <= len(COLOURS) else 1
    title = f"<title>{curve.place}. {escape(curve.name)}</title>"
    if len(points) == 1:
        x, _, y = scale.place(*points[0]).partition(",")
        return f"<circle cx={x} cy={y} r={width} fill='{colour}'>{title}</circle>"
    shape = " ".join(scale.place(x, y) for x, y in points)
    return f"<polyline fill=none stroke='{colour}' stroke-width={width} points='{shape}'>{title}</polyline>"


def _numbers(scale: Scale, lines: Sequence[tuple[Curve, Points]]) -> list[str]:
    """The place of each line beside its end, inside the chart; close ends have theirs one below the other."""
    ends = []
    for curve, points in lines:
        across, _, down = scale.place(*points[-1]).partition(",")
        ends.append((float(down), curve.place, float(across)))
    ends.sort()
    heights, last = [], -math.inf
    for y, _, _ in ends:
        last = max(y + 4, last + _BETWEEN)
        heights.append(last)
    lowest = float(HEIGHT - PAD)
    for each in reversed(range(len(heights))):
        heights[each] = min(heights[each], lowest)
        lowest = heights[each] - _BETWEEN
    return [
        f"<text x={x + 4:.1f} y={height:.1f} font-size=11 fill='{colour_of(place)}'>{place}</text>"
        for height, (_, place, x) in zip(heights, ends, strict=True)
    ]


def _across(scale: Scale, name: str, level: float, left: float, right: float) -> str:
    start, end = scale.place(left, level), scale.place(right, level)
    height = float(start.partition(",")[2])
    return (
        f"<polyline fill=none stroke='{GREY}' stroke-dasharray='4 4' points='{start} {end}'/>"
        f"<text x={PAD + 4} y={height - 4:.1f} font-size=11 fill='{GREY}'>{escape(name)}</text>"
    )


def _grid(scale: Scale) -> str:
    """Lines and figures at round errors and round epochs."""
    parts = []
    for error in _round_errors(scale.low, scale.high):
        left, right = (scale.place(x, math.log10(error)) for x in (scale.left, scale.right))
        height = float(left.partition(",")[2])
        parts.append(f"<polyline fill=none stroke='{GREY}' stroke-opacity=.3 points='{left} {right}'/>")
        parts.append(_text(PAD - 6, height + 4, f"{error:g}", "end"))
    for epochs in _round_numbers(scale.left, scale.right):
        along = float(scale.place(epochs, scale.low).partition(",")[0])
        parts.append(_text(along, HEIGHT - PAD + 16, f"{epochs:g}", "middle"))
    return "".join(parts)


def _round_errors(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two logarithms; only powers where those are many."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = _STEPS if high - low < 3 else _STEPS[:1]
    found = [step * 10.0**decade for decade in decades for step in steps]
    return [error for error in found if low <= math.log10(error) <= high]


def _round_numbers(low: float, high: float) -> list[float]:
    """At most about ten round numbers between two."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = max(1.0, next(part * power for part in (0.1, 0.2, 0.5, 1.0) if span <= 10 * part * power))
    return [step * count for count in range(math.ceil(low / step), math.floor(high / step) + 1)]


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    errors: Sequence[Sequence[float | None]],
    *,
    pale: Sequence[Sequence[bool]] = (),
) -> str:
    """A two-way grid by the logarithm of its errors; cells without one are empty.

    Args:
        rows: their names, from the top.
        columns: their names, from the left.
        errors: by row and column.
        pale: which of them are drawn so, by row and column.
    """
    known = [error for line in errors for error in line if error is not None and error > 0]
    if not known:
        return ""
    low, span = math.log(min(known)), (math.log(max(known)) - math.log(min(known))) or 1.0
    width, height = (WIDTH - _LABEL - 10) / len(columns), 34
    parts = [
        _text(_LABEL + width * (across + 0.5), 32, _short(name, max(3, int(width / 7))), "middle")
        for across, name in enumerate(columns)
    ]
    for down, (name, line) in enumerate(zip(rows, errors, strict=True)):
        top = 44 + height * down
        parts.append(_text(_LABEL - 8, top + 21, _short(name, 24), "end"))
        for across, error in enumerate(line):
            share = None if error is None or error <= 0 else (math.log(error) - low) / span
            faint = bool(pale) and pale[down][across]
            title = f"{name}, {columns[across]}: {number(error)}{', raced out' if faint else ''}"
            square = _Square(_LABEL + width * across, top, width, height, title, faint)
            parts.append(square.draw(error, share))
    return svg("".join(parts), height=54 + height * len(rows))


@dataclass(frozen=True)
class _Square:
    left: float
    top: float
    width: float
    height: float
    title: str
    pale: bool

    def draw(self, error: float | None, share: float | None) -> str:
        """In the colour of its share of the way from the least error to the greatest; empty without one."""
        place = f"x={self.left + 1:.1f} y={self.top + 1} width={self.width - 2:.1f} height={self.height - 2}"
        told = f"<title>{escape(self.title)}</title>"
        if error is None or share is None:
            return f"<rect {place} fill='{GREY}' fill-opacity=.15>{told}</rect>"
        colour = ",".join(str(round(a + share * (b - a))) for a, b in zip(_COLD, _WARM, strict=True))
        at = f"x={self.left + self.width / 2:.1f} y={self.top + 21}"
        ink = "#fff" if share < 0.45 else "#000"
        text = f"<text {at} font-size=12 fill='{ink}' text-anchor=middle>{error:.3g}</text>"
        drawn = f"<rect {place} fill='rgb({colour})'>{told}</rect>{text}"
        return f"<g opacity=.5>{drawn}</g>" if self.pale else drawn


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f"<text x={x:.1f} y={y:.1f} font-size=12 fill='{GREY}' text-anchor={anchor}>{escape(text)}</text>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Intervals:
    """Errors with their intervals, drawn one below the other on the same logarithmic axis.

    Args:
        errors: all that will be drawn, ends of intervals among them.
        ceiling: errors above it are drawn at it: what diverged must not squeeze the others together.
    """

    def __init__(self, errors: Sequence[float], ceiling: float | None) -> None:
        known = [error for error in errors if error > 0 and math.isfinite(error)]
        self._low = math.log(min(known, default=1.0))
        self._high = math.log(min(max(known, default=1.0), ceiling or math.inf))

    def _along(self, error: float) -> float:
        share = (math.log(max(error, 1e-300)) - self._low) / ((self._high - self._low) or 1.0)
        return 5 + min(1.0, max(0.0, share)) * (_BAR - 10)

    def draw(self, error: float, interval: Sequence[float] | None, colour: str) -> str:
        """One row's picture."""
        dot = f"<circle cx={self._along(error):.1f} cy=8 r=3.5 fill='{colour}'/>"
        if interval is not None:
            low, high = (self._along(end) for end in interval)
            dot = f"<line x1={low:.1f} x2={high:.1f} y1=8 y2=8 stroke='{colour}' stroke-width=2 />{dot}"
        return f"<svg class=interval viewBox='0 0 {_BAR} 16' role=img>{dot}</svg>"
