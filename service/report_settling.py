"""On a report's page: how the init was chosen where it was `auto`, and how the learning rate was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.report_drawing import number

Json = Mapping[str, Any]

_RULES = {
    "trial": "Short trainings from the same start; the grid widens while its best lies at an edge.",
    "range_test": "A tenth of the rate at which the smoothed loss was least while the rate grew.",
}


def settling_part(report: Json) -> str:
    """The page's part for a report's `auto` and `learning_rate`; nothing where neither was open."""
    return _auto(report.get("auto") or {}) + _rate(report.get("learning_rate") or {})


def _auto(found: Json) -> str:
    if not found:
        return ""
    chosen, rounds, spent = found.get("chosen") or {}, found.get("rounds") or [], found.get("steps") or {}
    body = "".join(_candidate(entry, chosen) for entry in found.get("candidates") or [])
    head = (
        "<tr><th>init</th><th>forecast: share of the way to PCA's error</th><th>outlook</th>"
        "<th>held-out error at the end of its last round</th><th></th></tr>"
    )
    if rounds:
        lengths = " and then ".join(number(one.get("steps")) for one in rounds)
        note = (
            f"Rounds of {lengths} steps, the schedule compressed to each; those close to the best ran the "
            f"last. {number(sum(int(part) for part in spent.values()))} steps in all, beside the "
            f"{number(found.get('job_steps'))} of the job."
        )
    else:
        note = "There was no time for a race: the forecasts decided."
    said = f"<p><code>auto</code> became <strong>{escape(_words(chosen))}</strong>.</p>"
    return f"<h2>How the init was chosen</h2>{said}<table>{head}{body}</table><p>{note}</p>"


def _candidate(entry: Json, chosen: Json) -> str:
    init = entry.get("init") or {}
    remark = (
        "chosen" if init == chosen else entry.get("why") or ("" if entry.get("raced") else "did not race")
    )
    return (
        f"<tr><td>{escape(_words(init))}</td><td>{number(entry.get('forecast'))}</td>"
        f"<td>{escape(str(entry.get('outlook') or ''))}</td><td>{number(entry.get('error'))}</td>"
        f"<td>{escape(str(remark))}</td></tr>"
    )


def _words(init: Json) -> str:
    """The word, and what of its options is not usual."""
    told = [str(init.get("name"))]
    if init.get("output_bias") == "mean":
        told.append("output bias at the mean")
    if init.get("centre"):
        told.append("centred")
    return ", ".join(told)


def _rate(found: Json) -> str:
    if not found:
        return ""
    rule, tried = str(found.get("rule")), found.get("tried") or []
    said = f"<p>{number(found.get('chosen'))}, where the spec said {number(found.get('given'))}. "
    note = f"{escape(_RULES.get(rule, rule))}</p>"
    return f"<h2>How the learning rate was chosen</h2>{said}{note}{_tried(tried)}"


def _tried(tried: Sequence[Json]) -> str:
    if not tried:
        return ""
    body = "".join(
        f"<tr><td>{number(entry.get('rate'))}</td><td>{_error(entry.get('error'))}</td></tr>"
        for entry in tried
    )
    return f"<table><tr><th>rate</th><th>held-out error</th></tr>{body}</table>"


def _error(value: Any) -> str:
    return "diverged" if value is None else number(value)
