"""gzip, deflate and zstd around bodies: inflated up to a limit, put around large answers when asked for."""

from __future__ import annotations

import zlib

import pyarrow as pa

from service.errors import BodyTooLarge
from service.serving.codecs.negotiate import CSV, JSON, quality_of
from service.serving.errors import BadTensor, UnknownFormat

ENCODINGS = ("zstd", "gzip", "deflate")
_WORTH_BYTES = 64 * 1024
_TEXTS = frozenset({JSON, CSV})
_PIECE_BYTES = 1024 * 1024
_GZIP, _ZLIB = 31, 15
_BULK = "The limit counts a body's bytes as they are when they are inflated."


def inflate(body: bytes, content_encoding: str | None, limit_bytes: int) -> bytes:
    """The body without the compression that `Content-Encoding` names.

    Args:
        body: as it came.
        content_encoding: the header; None, empty and `identity` leave the body as it is.
        limit_bytes: the most that may come of it.

    Raises:
        UnknownFormat: the compression is none of `ENCODINGS`.
        BodyTooLarge: more would come of it than the limit.
        BadTensor: it is damaged or cut off.
    """
    if content_encoding is None:
        return body
    for encoding in reversed([part.strip().lower() for part in content_encoding.split(",")]):
        if encoding in ("", "identity"):
            continue
        if encoding == "zstd":
            body = _inflate_zstd(body, limit_bytes)
        elif encoding in ("gzip", "x-gzip"):
            body = _inflate_zlib(body, _GZIP, "gzip", limit_bytes)
        elif encoding == "deflate":
            body = _inflate_zlib(body, _ZLIB, "deflate", limit_bytes)
        else:
            raise UnknownFormat(
                f"bodies may be compressed by {', '.join(ENCODINGS[:-1])} or {ENCODINGS[-1]}, "
                f"not {encoding[:40]!r}"
            )
    return body


def compress(content: bytes, media: str, accept_encoding: str | None) -> tuple[bytes, str | None]:
    """The answer, smaller where it is worth it and the caller's `Accept-Encoding` has zstd or gzip.

    Small answers and bare floats are left alone: compressing them costs more than it saves.

    Returns:
        The content and its `Content-Encoding`, None where it is as it was.
    """
    if accept_encoding is None or len(content) < _WORTH_BYTES or media not in _TEXTS:
        return content, None
    encoding = _favourite(accept_encoding)
    if encoding == "zstd":
        return pa.Codec("zstd", compression_level=1).compress(content, asbytes=True), encoding
    if encoding == "gzip":
        packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        return packer.compress(content) + packer.flush(), encoding
    return content, None


def _favourite(accept_encoding: str) -> str | None:
    wanted = {}
    for part in accept_encoding.split(","):
        name, _, parameters = part.partition(";")
        wanted[name.strip().lower()] = quality_of(parameters)
    rest = wanted.get("*", 0.0)
    quality, encoding = max((wanted.get(name, rest), name) for name in ("gzip", "zstd"))
    return encoding if quality > 0 else None


def _inflate_zlib(body: bytes, window_bits: int, name: str, limit_bytes: int) -> bytes:
    parts, size, rest = [], 0, body
    try:
        # A gzip file may be several, one after another.
        while rest:
            stream = zlib.decompressobj(window_bits)
            while not stream.eof:
                part = stream.decompress(rest, _PIECE_BYTES)
                rest = stream.unconsumed_tail or stream.unused_data
                size += len(part)
                if size > limit_bytes:
                    raise BodyTooLarge(limit_bytes, size, counted=True, bulk=_BULK)
                parts.append(part)
                if not part and not rest and not stream.eof:
                    raise BadTensor(f"the body is cut off: its {name} does not end", field="body")
    except zlib.error as error:
        raise BadTensor(f"the body is no {name}: {error}", field="body") from None
    return b"".join(parts)


def _inflate_zstd(body: bytes, limit_bytes: int) -> bytes:
    parts, size = [], 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while part := stream.read(_PIECE_BYTES):
                size += len(part)
                if size > limit_bytes:
                    raise BodyTooLarge(limit_bytes, size, counted=True, bulk=_BULK)
                parts.append(part)
    except OSError as error:
        raise BadTensor(f"the body is no zstd: {error}", field="body") from None
    return b"".join(parts)
