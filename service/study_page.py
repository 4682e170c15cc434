"""A study's report as one self-contained page: no script, no font, no picture from anywhere else.

Everything shown comes from the JSON of the study and of its report, so that a page that was saved says the
same as one that is asked for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from autoencoders.study.wording import value_words, words
from service.page import whole
from service.report_drawing import as_float, number
from service.study_drawing import Curve, curves, heat_map
from service.study_tables import Ranks, cost, counted, predictors, ranking, stuck

_STYLE = """
body{max-width:80rem}
pre{background:var(--field);border-radius:6px;padding:.8rem;overflow:auto;max-height:24rem;
white-space:pre-wrap;overflow-wrap:anywhere}
.wide{overflow-x:auto}.wide table{font-size:.85rem}
.quiet{color:var(--quiet)}.num{text-align:right;white-space:nowrap}.dot{font-weight:700}
.interval{width:8rem;background:none}
.advice{border-left:4px solid #1f6feb;padding:.2rem 1rem;font-size:1.05rem}summary{cursor:pointer}
"""
_RATES = {
    "fixed": "each cell's own",
    "trial": "for each cell the best of short trials",
    "range_test": "for each cell by a range test",
}
_ASKED = ("base", "seeds", "budget", "learning_rate", "racing", "unfit", "keep_models", "model", "labels")

Json = Mapping[str, Any]


def render(study: Json, report: Json, *, address: str) -> str:
    """The page.

    Args:
        study: as `GET /v1/studies/{id}` answers it.
        report: as `GET /v1/studies/{id}/report` answers it.
        address: of the gateway, for the line that submits what is recommended.
    """
    title, ranks = f"Study of {study['dataset']['name']}", Ranks(report)
    parts = [
        f"<h1>{escape(title)}</h1>",
        _asked(study, report),
        _advice(report, address),
        ranking(study, report, ranks),
        _curves(report, ranks),
        _heat_map(report.get("heat_map") or {}),
        stuck(report.get("stuck") or [], ranks),
        cost(report.get("cost") or [], ranks),
        predictors(report.get("predictors") or []),
        _notes(study, report),
        _request(study, address),
    ]
    return whole(title, parts, style=_STYLE)


def _asked(study: Json, report: Json) -> str:
    budget, seeds, progress = study["budget"], study["seeds"], study["progress"]
    each = (
        f"{counted(budget['epochs'], 'epoch')}, the passes of a pretraining counted"
        if budget.get("epochs")
        else f"{number(budget['seconds'])} seconds, initialisation counted"
    )
    said = [
        f"{counted(study['cells'], 'cell')} with {counted(len(seeds), 'seed')}",
        f"each for at most {each}" if study["racing"] else f"each for {each}",
        f"learning rate: {_RATES[study['learning_rate']]}",
        *(["losers stopped early, by successive halving"] if study["racing"] else []),
    ]
    varied = "".join(
        f"<li><code>{escape(path)}</code>: {escape(', '.join(map(value_words, values)))}</li>"
        for path, values in study["grid"].items()
    )
    so_far = f"{progress['jobs_over']} of {counted(progress['jobs'], 'job')} over"
    running = "" if report.get("complete") else f"<p><strong>Not complete: {so_far}.</strong></p>"
    dataset = f"Dataset <code>{escape(study['dataset']['name'])}</code>. {escape('; '.join(said))}."
    identity = f"<p class=quiet><code>{escape(study['id'])}</code>, {escape(study['state'])}</p>"
    return f"{identity}{running}<p>{dataset}</p><ul>{varied}</ul>"


def _advice(report: Json, address: str) -> str:
    recommended = report.get("recommended")
    said = escape(str(report.get("advice") or "Nothing can be recommended yet."))
    parts = [f"<h2>What to use</h2><p class=advice>{said}</p>"]
    if recommended:
        spec = json.dumps(recommended, indent=2, ensure_ascii=False)
        parts += [
            f"<p>Ready to submit:</p><pre>{escape(_curl(address, 'jobs', recommended))}</pre>",
            f"<details><summary>The same as JSON</summary><pre>{escape(spec)}</pre></details>",
        ]
    return "".join(parts)


def _curl(address: str, resource: str, body: Json) -> str:
    sent = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl -s {address}/v1/{resource} -H 'content-type: application/json' -d {sent}"


def _curves(report: Json, ranks: Ranks) -> str:
    lines = report.get("curves") or []
    drawn = [
        Curve(words(line["cell"]), _points(line.get("points") or []), ranks.of(line["cell"]) or len(lines))
        for line in lines
    ]
    baselines = report.get("baselines") or {}
    picture = curves(drawn, {"mean": as_float(baselines.get("mean")), "PCA": as_float(baselines.get("pca"))})
    note = (
        "Held-out error, the mean over seeds; numbers are places in the ranking, colours the first eight's."
    )
    return f"<h2>Learning curves</h2>{picture}<p class=quiet>{note}</p>" if picture else ""


def _points(points: Sequence[Json]) -> list[tuple[float, float]]:
    found = [(as_float(point.get("epoch")), as_float(point.get("error"))) for point in points]
    return [(epoch, error) for epoch, error in found if epoch is not None and error is not None]


def _heat_map(found: Json) -> str:
    if not found:
        return ""
    rows, columns = found["rows"], found["columns"]
    picture = heat_map(
        [value_words(value) for value in rows["values"]],
        [value_words(value) for value in columns["values"]],
        [[as_float(error) for error in line] for line in found["errors"]],
        pale=found.get("raced_out") or [],
    )
    title = f"Held-out error by {escape(rows['path'])} and {escape(columns['path'])}"
    pale = any(any(line) for line in found.get("raced_out") or [])
    note = "<p class=quiet>Pale: raced out, with the error at that rung.</p>" if pale else ""
    return f"<h2>{title}</h2>{picture}{note}" if picture else ""


def _notes(study: Json, report: Json) -> str:
    notes = [str(note) for note in report.get("notes") or []]
    notes += [
        f"Left out: {words(skipped['cell'])}: {skipped['why']}" for skipped in study.get("skipped") or []
    ]
    told = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2><ul>{told}</ul>" if told else ""


def _request(study: Json, address: str) -> str:
    """The body that makes this study again."""
    varied = {"preset": study["preset"]} if study.get("preset") else {"grid": study["grid"]}
    budget = {unit: much for unit, much in study["budget"].items() if much is not None}
    body = {**{name: study[name] for name in _ASKED}, **varied, "budget": budget}
    return f"<h2>The request</h2><pre>{escape(_curl(address, 'studies', body))}</pre>"
