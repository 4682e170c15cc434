"""The tables of a study's page: ranking, stuck cells, costs, and what a diagnosis could foresee."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from autoencoders.study.wording import value_words, words
from service.report_drawing import as_float, number
from service.study_drawing import Intervals, colour_of

Json = Mapping[str, Any]

_OUTLOOKS = {"stuck": "stuck on the plateau"}
_MOST_REACHING = 8
_HOW_RANKED = (
    "Squared error on held-out rows, summed over a row's features, in scaled units: the mean over seeds. "
    "Intervals are 95% bootstrap intervals of that mean; tied cells differ by no more than their seeds do."
)


class Ranks:
    """The place of each cell in a report's ranking, from 1."""

    def __init__(self, report: Json) -> None:
        cells = [line["cell"] for line in report.get("ranking") or []]
        self._places = {_key(cell): place for place, cell in enumerate(cells, 1)}

    def of(self, cell: Json) -> int | None:
        """The place of this cell; None where it stands in no ranking."""
        return self._places.get(_key(cell))

    def said(self, cell: Json) -> str:
        """The cell in words, behind its place."""
        place = self.of(cell)
        return escape(words(cell) if place is None else f"{place}. {words(cell)}")


def _key(cell: Json) -> str:
    return json.dumps(cell, sort_keys=True)


def ranking(study: Json, report: Json, ranks: Ranks) -> str:
    """Every cell, best first, with what it varies, its error and interval, and its ties."""
    lines = report.get("ranking") or []
    if not lines:
        return "<h2>Ranking</h2><p>No cell has an error yet.</p>"
    baselines = report.get("baselines") or {}
    ends = [end for line in lines for end in (line.get("error"), *(line.get("interval") or []))]
    intervals = Intervals(
        [end for end in map(as_float, ends) if end is not None], as_float(baselines.get("mean"))
    )
    paths, racing, rates = list(study["grid"]), study["racing"], study["learning_rate"] != "fixed"
    heads = ["", *paths, "held-out error", "interval", "", "tied with", "outlook, as seen"]
    heads += ["rung"] if racing else []
    heads += ["learning rate"] if rates else []
    heads += ["epochs", "seconds: init", "training"]
    rows = []
    for place, line in enumerate(lines, 1):
        seconds = line.get("seconds") or {}
        row = [_marked(place), *(_cell(value_words(line["cell"].get(path))) for path in paths)]
        row += [_number(_error(line)), _number(_interval(line.get("interval")))]
        row += [_picture(intervals, line, place), _cell(_ties(line, ranks)), _cell(_seen(line))]
        row += [_number(_rung(line))] if racing else []
        row += [_number(_rates(line))] if rates else []
        row.append(_number(number(line.get("epochs"))))
        row += [_number(_time(seconds.get("init"))), _number(_time(seconds.get("train")))]
        rows.append(row)
    told = f"{_beside(baselines)}{_table(heads, rows)}<p class=quiet>{_HOW_RANKED}</p>"
    return f"<h2>Ranking</h2>{told}"


def stuck(lines: Sequence[Json], ranks: Ranks) -> str:
    """The cells that never left the plateau, or rose above it, and what their diagnosis says of that."""
    if not lines:
        return ""
    rows = [
        [
            f"<td>{ranks.said(line['cell'])}</td>",
            _number(four(line.get("error"))),
            _cell(_seen(line) or "raced out"),
            _cell(str(line.get("forecast") or "none")),
            _cell(". Cure: ".join(str(line[key]) for key in ("cause", "cure") if line.get(key))),
        ]
        for line in lines
    ]
    heads = ["cell", "held-out error", "outlook, as seen", "forecast", "why, by its diagnosis"]
    return f"<h2>Never left the plateau</h2>{_table(heads, rows)}"


def cost(targets: Sequence[Json], ranks: Ranks) -> str:
    """What each cell needed to come to an error, for some errors; the first cells of each."""
    rows = []
    for target in targets:
        reached = target.get("cells") or []
        said = f"{four(target.get('target'))} {target.get('what') or ''}"
        for place, line in enumerate(reached[:_MOST_REACHING]):
            rows.append(
                [
                    _cell(said if place == 0 else ""),
                    f"<td>{ranks.said(line['cell'])}</td>",
                    *(_number(number(line.get(unit))) for unit in ("epochs", "steps")),
                    _number(_time(line.get("seconds"))),
                ]
            )
        if (rest := len(reached) - _MOST_REACHING) > 0:
            rows.append([_cell(""), f"<td class=quiet colspan=4>and {counted(rest, 'cell')} more</td>"])
    heads = ["error", "cells that reached it", "epochs", "steps", "seconds"]
    return f"<h2>What it costs to reach an error</h2>{_table(heads, rows)}" if rows else ""


def predictors(lines: Sequence[Json]) -> str:
    """The figures of a diagnosis that went along with the errors most."""
    if not lines:
        return ""
    rows = [
        [
            _cell(str(line.get("means") or line.get("figure"))),
            _number(_signed(line.get("correlation"))),
            _number(str(line.get("cells"))),
        ]
        for line in lines
    ]
    heads = ["figure of the diagnosis", "rank correlation with the error", "cells"]
    return f"<h2>What could be seen before the first step</h2>{_table(heads, rows)}"


def four(value: Any) -> str:
    """A number for a reader, to four digits."""
    found = as_float(value)
    return "not known" if found is None else f"{found:.4g}"


def counted(how_many: int, what: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{how_many:,} {what}" if how_many == 1 else f"{how_many:,} {what}s"


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _number(text: str) -> str:
    return f"<td class=num>{escape(text)}</td>"


def _marked(place: int) -> str:
    return f"<td class='num dot' style='color:{colour_of(place)}'>{place}</td>"


def _picture(intervals: Intervals, line: Json, place: int) -> str:
    error = as_float(line.get("error"))
    drawn = "" if error is None else intervals.draw(error, line.get("interval"), colour_of(place))
    return f"<td>{drawn}</td>"


def _beside(baselines: Json) -> str:
    known = [
        f"{name} {four(baselines[key])}"
        for name, key in (("predicting the mean", "mean"), ("PCA with the same code size", "pca"))
        if as_float(baselines.get(key)) is not None
    ]
    return f"<p>To compare with: {', '.join(known)}.</p>" if known else ""


def _error(line: Json) -> str:
    if as_float(line.get("error")) is None:
        return "failed" if line.get("failed") else "not known"
    return four(line["error"])


def _interval(interval: Sequence[Any] | None) -> str:
    return "" if interval is None else " to ".join(map(four, interval))


def _time(seconds: Any) -> str:
    found = as_float(seconds)
    return "" if found is None else f"{found:,.0f}" if found >= 100 else f"{found:.2g}"


def _signed(value: Any) -> str:
    found = as_float(value)
    return "not known" if found is None else f"{found:+.2f}"


def _ties(line: Json, ranks: Ranks) -> str:
    places = (ranks.of(cell) for cell in line.get("tied_with") or [])
    return ", ".join(str(place) for place in sorted(place for place in places if place is not None))


def _seen(line: Json) -> str:
    outlook, failed = str(line.get("outlook") or ""), line.get("failed") or 0
    said = [_OUTLOOKS.get(outlook, outlook), f"{counted(failed, 'job')} failed" if failed else ""]
    return "; ".join(part for part in said if part)


def _rates(line: Json) -> str:
    """The rates of its seeds, where each was tried by itself."""
    rates = [rate for rate in line.get("learning_rates") or [line.get("learning_rate")] if rate is not None]
    return ", ".join(f"{rate:.3g}" for rate in dict.fromkeys(rates))


def _rung(line: Json) -> str:
    return f"{line.get('rung')}, raced out" if line.get("raced_out") else str(line.get("rung"))
