"""A job's report as one self-contained page: no script, no font, no picture from anywhere else.

Everything shown comes from the report's JSON; curves, gallery and code map are drawn as inline SVG.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.page import whole
from service.report_diagnosis import diagnosis_part
from service.report_drawing import COLOURS, Scale, as_float, lines, number, svg
from service.report_settling import settling_part

_STYLE = """
.pair{display:inline-block;margin:.2rem;text-align:center;font-size:.75rem}
.pair img{image-rendering:pixelated;width:56px;height:56px;margin:1px}
"""

Json = Mapping[str, Any]


def render(job: str, model: str, version: int | None, report: Json) -> str:
    """The page."""
    title = f"{model} version {version}" if version is not None else model
    parts = [
        f"<h1>{escape(title)}</h1><p>Job <code>{escape(job)}</code></p>",
        _outcome(report),
        _alignment(report.get("alignment") or {}),
        settling_part(report),
        diagnosis_part(report.get("diagnosis") or {}),
        _curves(report.get("curves") or []),
        _gallery(report.get("gallery") or {}),
        _code_map(report.get("code_map") or {}),
        _worst(report.get("worst_rows") or []),
        _features(report),
        _history(report.get("history") or []),
    ]
    return whole(title, parts, style=_STYLE)


def _outcome(report: Json) -> str:
    baselines = report.get("baselines") or {}
    rows = [
        ("This model", report.get("error")),
        ("Predicting the mean", baselines.get("mean")),
        ("PCA with the same code size", baselines.get("pca")),
    ]
    body = "".join(f"<tr><td>{escape(name)}</td><td>{number(value)}</td></tr>" for name, value in rows)
    note = "Squared error on held-out rows, summed over a row's features, in scaled units."
    return f"<h2>Held-out error</h2><table>{body}</table><p>{note}</p>"


def _alignment(found: Json) -> str:
    if not found:
        return ""
    rows = [("before", found.get("recall_before")), ("after", found.get("recall_after"))]
    body = "".join(f"<tr><td>{name}</td><td>{number(value)}</td></tr>" for name, value in rows)
    note = (
        f"Of a held-out row's {found.get('neighbours')} nearest embeddings stored by {found.get('to')}, the "
        "share that its new code finds among them, before and after its code was turned onto theirs."
    )
    return f"<h2>Aligned to {escape(str(found.get('to')))}</h2><table>{body}</table><p>{escape(note)}</p>"


def _curves(curves: Sequence[Json]) -> str:
    names = (("held-out error", "error"), ("held-out loss", "loss"), ("training loss", "train_loss"))
    series = [
        (name, [(as_float(point.get("epoch")), as_float(point.get(key))) for point in curves])
        for name, key in names
    ]
    picture = lines(series, "epoch")
    return f"<h2>Curves</h2>{picture}" if picture else ""


def _code_map(code_map: Json) -> str:
    places = [(x, y) for x, y, *_ in code_map.get("points") or [] if x is not None and y is not None]
    if not places:
        return ""
    scale = Scale(places)
    dots = "".join(
        f"<circle cx={at[0]} cy={at[2]} r=2 fill='{COLOURS[0]}' fill-opacity=.5 />"
        for at in (scale.place(x, y).partition(",") for x, y in places)
    )
    explained = " and ".join(
        f"{100 * (as_float(share) or 0):.0f}%" for share in code_map.get("explained") or []
    )
    note = f"Held-out codes on their two widest axes ({explained} of the variance)."
    return f"<h2>Code map</h2>{svg(dots)}<p>{note}</p>"


def _gallery(gallery: Json) -> str:
    shape = [int(extent) for extent in gallery.get("shape") or []]
    pairs = list(zip(gallery.get("inputs") or [], gallery.get("reconstructions") or [], strict=False))
    if not pairs:
        return ""
    rows = gallery.get("rows") or range(len(pairs))
    drawn = "".join(
        f"<span class=pair>{_picture(given, shape)}{_picture(made, shape)}<br>{escape(str(row))}</span>"
        for row, (given, made) in zip(rows, pairs, strict=False)
    )
    return f"<h2>Reconstructions</h2><p>Held-out rows, each beside its reconstruction.</p>{drawn}"


def _picture(values: Sequence[Any], shape: Sequence[int]) -> str:
    """A row as a small grey PNG; rows that are no images become a line."""
    numbers = [as_float(value) or 0.0 for value in values]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    span = (high - low) or 1.0
    if len(shape) == 2 and shape[0] * shape[1] == len(numbers):
        grey = bytes(round(255 * (value - low) / span) for value in numbers)
        return f"<img alt='' src='data:image/png;base64,{_png(grey, shape[1], shape[0])}'>"
    step = 56 / max(1, len(numbers) - 1)
    path = " ".join(
        f"{index * step:.1f},{52 - 48 * (value - low) / span:.1f}" for index, value in enumerate(numbers)
    )
    line = f"<polyline fill=none stroke='{COLOURS[0]}' points='{path}'/>"
    return f"<svg viewBox='0 0 56 56' style='width:56px'>{line}</svg>"


def _png(grey: bytes, width: int, height: int) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    scanned = b"".join(b"\0" + grey[start : start + width] for start in range(0, width * height, width))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(scanned))
        + chunk(b"IEND", b"")
    )
    return base64.b64encode(png).decode()


def _worst(rows: Sequence[Json]) -> str:
    if not rows:
        return ""
    body = "".join(
        "<tr>"
        f"<td>{escape(str(row.get('row')))}</td>"
        f"<td>{escape(', '.join(f'{key}={value}' for key, value in (row.get('ids') or {}).items()))}</td>"
        f"<td>{number(row.get('error'))}</td>"
        f"<td>{escape(', '.join(_share(item) for item in row.get('features') or []))}</td>"
        "</tr>"
        for row in rows
    )
    head = "<tr><th>row</th><th>ids</th><th>error</th><th>where it lies</th></tr>"
    return f"<h2>Worst held-out rows</h2><table>{head}{body}</table>"


def _share(item: Json) -> str:
    return f"{item.get('feature')} {100 * (as_float(item.get('share')) or 0):.0f}%"


def _features(report: Json) -> str:
    ranked = sorted(report.get("features") or [], key=lambda item: -(as_float(item.get("error")) or 0.0))[:20]
    if not ranked:
        return ""
    body = "".join(
        f"<tr><td>{escape(str(item.get('feature')))}</td><td>{number(item.get('error'))}</td>"
        f"<td>{number(item.get('root_in_own_units'))}</td></tr>"
        for item in ranked
    )
    head = "<tr><th>feature</th><th>error</th><th>root of it, in the feature's own units</th></tr>"
    return f"<h2>Error by feature</h2><table>{head}{body}</table>"


def _history(happened: Sequence[Json]) -> str:
    if not happened:
        return ""
    body = "".join(
        f"<tr><td>{escape(str(line.get('at', '')))}</td><td>{escape(str(line.get('type', '')))}</td>"
        f"<td>{escape(str(line.get('data', ''))[:300])}</td></tr>"
        for line in happened
    )
    return f"<h2>What happened</h2><table>{body}</table>"
