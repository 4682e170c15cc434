"""Bodies to float32 rows and answers to bytes, in every format; each way is chosen by its own header."""

from __future__ import annotations

from service.serving.codecs import (
    arrow,
    csv_text,
    images,
    json_answers,
    json_careful,
    json_rows,
    npy,
    raw,
)
from service.serving.codecs.images import JPEG, PNG
from service.serving.codecs.negotiate import (
    ARROW,
    CSV,
    FORMATS,
    JSON,
    NPY,
    ONE_ARRAY,
    RAW,
    read_format,
    write_format,
)
from service.serving.codecs.rows import Array, Expected, Question, Reply, Rows, finite, fit, white_of

__all__ = [
    "ARROW",
    "CSV",
    "FORMATS",
    "JPEG",
    "JSON",
    "NPY",
    "ONE_ARRAY",
    "PNG",
    "RAW",
    "Array",
    "Expected",
    "Question",
    "Reply",
    "Rows",
    "decode",
    "encode",
    "finite",
    "fit",
    "headers",
    "read_format",
    "white_of",
    "write_format",
]


def decode(body: bytes, media: str, expected: Expected, shape: str | None = None) -> Question:
    """The rows in a request's body.

    Args:
        body: without any compression.
        media: one of `FORMATS`.
        expected: what the model takes.
        shape: the `X-Shape` header, for raw bodies.

    Raises:
        BadTensor: not the rows that the model takes; names row and column.
    """
    if media == JSON:
        return json_rows.read(body, expected) or json_careful.read(body, expected)
    array = _array(body, media, expected, shape)
    return Question(finite(fit(array, expected), expected), array.ndim == 2)


def encode(reply: Reply, media: str, encoding: str | None = None) -> bytes:
    """The body of an answer.

    Args:
        reply: what it is made of.
        media: one of `FORMATS`.
        encoding: `base64` for JSON that was asked so.

    Raises:
        NotAcceptable: the format cannot hold this answer.
    """
    if media == JSON:
        return json_answers.write(reply, encoding)
    if media == NPY:
        return npy.write(reply)
    if media == RAW:
        return raw.write(reply)
    if media == ARROW:
        return arrow.write(reply)
    if media == CSV:
        return csv_text.write(reply)
    return images.write(reply, media)


def headers(reply: Reply, media: str) -> dict[str, str]:
    """What only the headers can say of an answer in this format."""
    return raw.headers(reply) if media == RAW else {}


def _array(body: bytes, media: str, expected: Expected, shape: str | None) -> Array:
    if media == NPY:
        return npy.read(body)
    if media == RAW:
        return raw.read(body, expected, shape)
    if media == ARROW:
        return arrow.read(body, expected)
    if media == CSV:
        return csv_text.read(body, expected)
    return images.read(body, media, expected)
