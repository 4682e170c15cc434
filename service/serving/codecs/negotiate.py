"""The format of a body and that of an answer, each chosen by itself: `Content-Type` and `Accept`."""

from __future__ import annotations

from service.serving.codecs.images import JPEG, PNG
from service.serving.errors import NotAcceptable, UnknownFormat

JSON = "application/json"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
RAW = "application/octet-stream"
CSV = "text/csv"
FORMATS = (JSON, NPY, ARROW, RAW, CSV, PNG, JPEG)
ONE_ARRAY = frozenset({NPY, RAW, PNG, JPEG})
"""Formats that hold one array and nothing beside it."""
_OF_A_RANGE = {"*/*": JSON, "application/*": JSON, "text/*": CSV, "image/*": PNG}


def read_format(content_type: str | None) -> str:
    """The codec for a body.

    Raises:
        UnknownFormat: nothing reads this type.
    """
    if content_type is None or content_type == JSON:
        return JSON
    media = content_type.partition(";")[0].strip().lower()
    if media in FORMATS:
        return media
    raise UnknownFormat(f"bodies may be {_listed()}, not {media[:80]!r}")


def write_format(accept: str | None, sent: str = JSON) -> str:  # noqa: ARG001
    """The codec for an answer: the caller's favourite, JSON where anything will do, whatever was sent.

    Raises:
        NotAcceptable: nothing writes any of these types.
    """
    if accept is None or accept in ("*/*", JSON) or not accept.strip():
        return JSON
    wanted: list[tuple[float, int, str]] = []
    refused = set()
    for position, part in enumerate(accept.split(",")):
        media, _, parameters = part.partition(";")
        quality, media = quality_of(parameters), media.strip().lower()
        if quality == 0:
            refused.add(media)
        else:
            wanted.append((-quality, position, media))
    for _, _, media in sorted(wanted):
        if media in FORMATS:
            return media
        choice = _OF_A_RANGE.get(media)
        if choice is not None and choice not in refused:
            return choice
    raise NotAcceptable(f"answers may be {_listed()}, not {accept[:80]!r}")


def quality_of(parameters: str) -> float:
    """The weight in a header's parameters, from 0 to 1; what cannot be read is not wanted."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.strip().partition("=")
        if key.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def _listed() -> str:
    return f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
