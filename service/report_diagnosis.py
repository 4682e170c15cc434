"""A diagnosis on a report's page: the verdict in words, the layers before and after, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.report_drawing import Points, as_float, lines, number

Json = Mapping[str, Any]

_SAID = {
    "learns": "Forecast before the first step: it learns.",
    "slow": "Forecast before the first step: it learns, but slowly.",
    "stuck": "Forecast before the first step: it gets stuck.",
    "diverges": "Forecast before the first step: it diverges.",
}
_COLUMNS = (
    ("mean", "mean"),
    ("variance", "variance"),
    ("saturated", "saturated"),
    ("dead", "dead"),
    ("gradient", "gradient"),
    ("backward", "backward"),
)


def diagnosis_part(diagnosis: Json) -> str:
    """The page's part for a report's `diagnosis`; nothing where there is none."""
    before, after = diagnosis.get("before") or {}, diagnosis.get("after") or {}
    if not before and not after:
        return ""
    return "".join(
        (
            "<h2>Diagnosis</h2>",
            _verdict(before.get("verdict") or {}),
            _figures(before, after),
            _layers("Layers before training", before.get("layers") or []),
            _layers("Layers after training", after.get("layers") or []),
            _by_layer("Variance of each layer's pre-activations", "variance", before, after),
            _by_layer("Norm of the gradient at each layer", "backward", before, after),
            _singular_values(before, after),
            _trial(before),
        )
    )


def _verdict(verdict: Json) -> str:
    if not verdict:
        return ""
    outlook = str(verdict.get("outlook"))
    said = [f"<strong>{escape(_SAID.get(outlook, outlook))}</strong>"]
    said += [escape(str(verdict[key])) for key in ("cause", "cure") if verdict.get(key)]
    evidence = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{_evidence(value)}</td></tr>"
        for name, value in (verdict.get("evidence") or {}).items()
    )
    table = f"<table>{evidence}</table>" if evidence else ""
    return f"<p>{'<br>'.join(said)}</p>{table}"


def _evidence(value: Any) -> str:
    return number(value) if as_float(value) is not None else escape(str(value))


def _figures(before: Json, after: Json) -> str:
    rows = [
        ("effective rank of the code", "code", "effective_rank"),
        ("correlation between the codes of different rows", "code", "correlation"),
        ("variance of the code", "code", "variance"),
        ("active units of the code", "code", "active"),
        ("cosine between row and reconstruction", "reconstruction", "cosine"),
        ("Jacobian: mean squared singular value", "jacobian", "mean_square"),
        ("Jacobian: variance of the squares", "jacobian", "variance"),
        ("objective", "losses", "objective"),
    ]
    body = "".join(
        f"<tr><td>{name}</td><td>{number((before.get(part) or {}).get(key))}</td>"
        f"<td>{number((after.get(part) or {}).get(key))}</td></tr>"
        for name, part, key in rows
    )
    return f"<table><tr><th>figure</th><th>before</th><th>after</th></tr>{body}</table>"


def _layers(title: str, layers: Sequence[Json]) -> str:
    if not layers:
        return ""
    head = "".join(f"<th>{name}</th>" for _, name in _COLUMNS)
    body = "".join(
        f"<tr><td>{escape(str(layer.get('name')))}</td>"
        + "".join(f"<td>{number(layer.get(key))}</td>" for key, _ in _COLUMNS)
        + "".join(
            f"<td>{number((layer.get('predicted') or {}).get(key))}</td>" for key in ("variance", "chi")
        )
        + "</tr>"
        for layer in layers
    )
    predicted = "<th>variance in theory</th><th>chi</th>"
    return f"<h3>{title}</h3><table><tr><th>layer</th>{head}{predicted}</tr>{body}</table>"


def _by_layer(title: str, key: str, before: Json, after: Json) -> str:
    named = [(name, _points(found.get("layers") or [], key)) for name, found in _both(before, after)]
    if key == "variance":
        predicted = [layer.get("predicted") or {} for layer in before.get("layers") or []]
        named.append(("theory, before", _points(predicted, key)))
    picture = lines(named, "layer", logarithmic=True)
    return f"<h3>{title}</h3>{picture}" if picture else ""


def _singular_values(before: Json, after: Json) -> str:
    named = [
        (name, list(enumerate(map(as_float, (found.get("jacobian") or {}).get("singular_values") or []), 1)))
        for name, found in _both(before, after)
    ]
    picture = lines(named, "rank", logarithmic=True)
    return f"<h3>Singular values of the Jacobian</h3>{picture}" if picture else ""


def _trial(before: Json) -> str:
    errors = [
        (as_float(step), as_float(error)) for step, error in (before.get("trial") or {}).get("errors") or []
    ]
    losses = before.get("losses") or {}
    ends = [errors[0][0], errors[-1][0]] if errors else []
    marks = [(name, [(end, as_float(losses.get(key))) for end in ends]) for name, key in _YARDSTICKS]
    picture = lines([("the trial's held-out error", errors), *marks], "step")
    return f"<h3>A short trial before training</h3>{picture}" if picture else ""


_YARDSTICKS = (("predicting the mean", "mean"), ("PCA", "pca"))


def _both(before: Json, after: Json) -> tuple[tuple[str, Json], tuple[str, Json]]:
    return ("before", before), ("after", after)


def _points(layers: Sequence[Json], key: str) -> Points:
    return [(float(place), as_float(layer.get(key))) for place, layer in enumerate(layers, 1)]
