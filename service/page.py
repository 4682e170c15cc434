"""What all pages for people share: their style, that they fetch and run nothing, and who wants one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from fastapi import Response

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--quiet:#656d76;--line:#d1d9e0;--field:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--quiet:#9198a1;--line:#30363d;--field:#161b22}}
body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;
color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;
border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;background:var(--field);border-radius:6px}
"""
DOCUMENT_OR_PAGE = {
    "description": "The report; `Accept: text/html` gives one self-contained page.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "text/html": {"schema": {"type": "string"}},
    },
}
"""How a route is described that answers a report as either."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def whole(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """A page of these parts, complete in itself."""
    head = (
        f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
        f"<style>{STYLE}{style}</style>"
    )
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


def page_answer(page: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page as an answer; the browser is told that it needs nothing from anywhere."""
    told = {"Content-Security-Policy": _POLICY, "Vary": "Accept", **(headers or {})}
    return Response(page, media_type="text/html", headers=told)


def wants_html(accept: str) -> bool:
    """HTML where it is named before JSON; a client that takes anything gets JSON."""
    medias = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if "text/html" not in medias:
        return False
    return "application/json" not in medias or medias.index("text/html") < medias.index("application/json")
