"""An upload's bytes, from the request straight to a file: raw or as the one file of a form."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service import metrics
from service.errors import FieldRefused

FLUSH_BYTES = 1024 * 1024
_LARGEST_PART_HEADER = 8 * 1024


@dataclass
class Received:
    """What came: where it lies, how much, its hash, and what the form said of it."""

    path: Path
    bytes: int
    sha256: str
    filename: str | None = None
    content_type: str | None = None


class Spool:
    """A file that grows off the event loop, a portion at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take some bytes; they are in memory until the next `flush`."""
        self._pending += data

    async def flush(self, *, least: int = FLUSH_BYTES) -> None:
        """Write what is pending where it is worth a write."""
        if len(self._pending) < least:
            return
        portion, self._pending = self._pending, bytearray()
        self.bytes += len(portion)
        metrics.upload_bytes.inc(len(portion))
        await asyncio.to_thread(self._write, portion)

    async def finish(self) -> str:
        """Write the rest; the SHA-256 of everything."""
        await self.flush(least=1)
        await asyncio.to_thread(self._file.flush)
        return self._hash.hexdigest()

    def _write(self, portion: bytearray) -> None:
        self._hash.update(portion)
        self._file.write(portion)


async def receive(request: Request, path: Path) -> Received:
    """Write the request's body, or the one file in its form, to `path`.

    Raises:
        FieldRefused: an empty body, or a form without exactly one file.
    """
    content_type = request.headers.get("content-type", "")
    media, options = parse_options_header(content_type)
    with path.open("wb") as file:
        spool = Spool(file)
        if media == b"multipart/form-data":
            boundary = options.get(b"boundary")
            if not boundary:
                raise FieldRefused([(("header", "content-type"), "the form names no boundary")])
            part = await _form(request.stream(), boundary, spool)
            received = Received(path, 0, "", part.filename, part.content_type)
        else:
            async for chunk in request.stream():
                spool.add(chunk)
                await spool.flush()
            received = Received(path, 0, "", None, media.decode("latin-1").lower() or None)
        received.sha256 = await spool.finish()
        received.bytes = spool.bytes
    if not received.bytes:
        raise FieldRefused([(("body",), "the body is empty; send the file's bytes, or a form with one file")])
    return received


@dataclass
class _Part:
    """The part of a form that is being read; `files` counts the files seen."""

    spool: Spool
    files: int = 0
    filename: str | None = None
    content_type: str | None = None
    taking: bool = False
    ended: bool = False
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[str, bytes] = field(default_factory=dict)

    def on_part_begin(self) -> None:
        self._headers, self.taking = {}, False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._refuse_long_header()

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._refuse_long_header()

    def on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()
        if len(self._headers) > 16:
            raise FieldRefused([(("body",), "a part of the form has too many headers")])

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        if b"filename" not in options:
            name = options.get(b"name", b"?").decode("utf-8", "replace")
            message = "the form takes one file; what describes the dataset stands in the query (?name=…)"
            raise FieldRefused([((name,), message)])
        self.files += 1
        if self.files > 1:
            raise FieldRefused([(("body",), "the form holds more than one file; a dataset is one")])
        self.taking = True
        self.filename = options[b"filename"].decode("utf-8", "replace")
        media, _ = parse_options_header(self._headers.get("content-type", b""))
        self.content_type = media.decode("latin-1").lower() or None

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.taking:
            self.spool.add(memoryview(data)[start:end])

    def on_end(self) -> None:
        self.ended = True

    def _refuse_long_header(self) -> None:
        if len(self._name) + len(self._value) > _LARGEST_PART_HEADER:
            raise FieldRefused([(("body",), "a header of the form's part is too long")])


async def _form(stream: AsyncIterator[bytes], boundary: bytes, spool: Spool) -> _Part:
    part = _Part(spool)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": part.on_part_begin,
            "on_header_field": part.on_header_field,
            "on_header_value": part.on_header_value,
            "on_header_end": part.on_header_end,
            "on_headers_finished": part.on_headers_finished,
            "on_part_data": part.on_part_data,
            "on_end": part.on_end,
        },
    )
    try:
        async for chunk in stream:
            parser.write(chunk)
            await spool.flush()
        parser.finalize()
    except MultipartParseError as error:
        raise FieldRefused([(("body",), f"the form cannot be read: {error}")]) from None
    if not part.ended or part.files != 1:
        raise FieldRefused([(("body",), "the form must hold one file and end: curl -F file=@table.csv")])
    return part
