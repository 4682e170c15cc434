"""PNG and JPEG: one picture is one row of a model of images, and so is its answer."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.serving import codecs
from service.serving.codecs import Expected, Reply, white_of
from service.serving.errors import NotAcceptable
from tests.service.formats.reading import FLAT, IMAGES, refused
from tests.service.formats.written import picture


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_is_a_row(kind: str, mode: str) -> None:
    row = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    media = f"image/{kind.lower()}"
    read = codecs.decode(picture(row, kind, mode), media, IMAGES)
    assert not read.flat
    np.testing.assert_allclose(read.rows, row.reshape(1, 64), atol=0.003 if kind == "PNG" else 0.05)


def test_a_picture_is_in_the_datasets_units() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    colour = Expected(48, (3, 4, 4), white=white_of((3, 4, 4), "uint8", 0, 255))
    np.testing.assert_array_equal(
        codecs.decode(buffer.getvalue(), "image/png", colour).rows, pixels.reshape(1, 48)
    )
    grey = Image.new("L", (4, 4), 7)
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    assert (codecs.decode(buffer.getvalue(), "image/png", colour).rows == 7).all()


def _saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG of 64 bytes whose header says 30,000 x 30,000 pixels."""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PICTURES: list[tuple[str, bytes, Expected, str]] = [
    ("another size", _saved(Image.new("L", (8, 9))), IMAGES, "8 x 9"),
    ("a bomb", _bomb(), IMAGES, ""),
    ("another kind", _saved(Image.new("L", (8, 8)), "JPEG"), IMAGES, "no PNG"),
    ("no picture", b"hello", IMAGES, "no PNG"),
    ("cut off", _saved(Image.effect_noise((8, 8), 9))[:-30], IMAGES, "damaged"),
    ("16 bits", _saved(Image.new("I;16", (8, 8))), IMAGES, "8-bit"),
    ("transparent", _saved(Image.new("LA", (8, 8), (1, 100))), IMAGES, "transparent"),
    ("rows of numbers", _saved(Image.new("L", (8, 8))), FLAT, "no images"),
    ("floats beyond 1", _saved(Image.new("L", (8, 8))), Expected(64, (8, 8)), "beyond 0 to 1"),
]


@pytest.mark.parametrize(("what", "body", "expected", "words"), PICTURES, ids=[case[0] for case in PICTURES])
def test_a_picture_that_is_no_row_is_refused(what: str, body: bytes, expected: Expected, words: str) -> None:
    assert words in refused(body, "image/png", expected).message


def test_one_row_of_an_image_is_answered_as_a_picture() -> None:
    values = np.linspace(-0.1, 1.1, 64, dtype=np.float32).reshape(1, 8, 8)
    made = np.asarray(Image.open(io.BytesIO(codecs.encode(Reply("outputs", values, white=1.0), "image/png"))))
    np.testing.assert_allclose(made / 255, np.clip(values[0], 0, 1), atol=0.003)
    for reply in (Reply("outputs", np.vstack([values, values]), white=1.0), Reply("codes", values[:, 0])):
        with pytest.raises(NotAcceptable):
            codecs.encode(reply, "image/png")


@pytest.mark.parametrize(
    ("shape", "dtype", "low", "high", "white"),
    [
        ((8, 8), "uint8", 0, 16, 255),
        ((3, 8, 8), "float32", 0, 1, 1),
        ((8, 8), "float32", -1, 1, None),
        ((8, 8), "float32", 0, 255, None),
        ((64,), "uint8", 0, 255, None),
    ],
)
def test_white_is_known_where_pixels_have_a_unit(
    shape: tuple[int, ...], dtype: str, low: float, high: float, white: float | None
) -> None:
    assert white_of(shape, dtype, low, high) == white
