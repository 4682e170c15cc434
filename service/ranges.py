"""A file from the store as an answer: with its ETag, as 304 where the caller has it, or one range of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from service.answers import holds

_PORTION = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def file_answer(
    request: Request,
    open_file: Callable[[], BinaryIO],
    *,
    size: int,
    tag: str,
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """The file of `size` bytes, or what the request's `Range` and `If-None-Match` want of it.

    Several ranges at once are answered with the whole file, as RFC 9110 allows. The file is opened before the
    answer begins, so that one that is missing is an error and not a broken answer.

    Raises:
        HTTPException: 416, the range lies outside of the file.
    """
    told = {**headers, "ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if holds(request, tag):
        return Response(status_code=304, headers=told)
    found = _range(request, tag, size)
    if found is None:
        detail = f"the file has {size:,} bytes; {request.headers['range']!r} asks for none of them"
        raise HTTPException(416, detail, {"Content-Range": f"bytes */{size}"})
    start, stop = found
    whole = (start, stop) == (0, size)
    told["Content-Length"] = str(stop - start)
    if not whole:
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=told, media_type=media_type)
    portions = _portions(open_file(), start, stop)
    return StreamingResponse(portions, status, told, media_type)


def _range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """Which bytes to send, from the first up to the second; None where there are no such bytes."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    # A caller that has the beginning of another file must get this one from its beginning.
    if asked is None or request.headers.get("if-range", tag) != tag or asked.groups() == ("", ""):
        return 0, size
    first, last = asked.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop) if start < stop else None


def _portions(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (portion := file.read(min(_PORTION, stop - start))):
            start += len(portion)
            yield portion
