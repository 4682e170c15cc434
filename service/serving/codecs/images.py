"""PNG and JPEG: one picture is one row of a model of images; its size is checked before its pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from autoencoders.data.manifest import image_shape
from service.serving.codecs.rows import Array, Expected, Reply
from service.serving.errors import BadTensor, NotAcceptable

PNG, JPEG = "image/png", "image/jpeg"
_FORMATS = {PNG: "PNG", JPEG: "JPEG"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_BYTE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_WHITE = 255


def read(body: bytes, media: str, expected: Expected) -> Array:
    """The picture as one row, [1, *shape], in the dataset's units; grey or in colour as the shape demands.

    Raises:
        BadTensor: the model's rows are no pictures, or the picture is damaged or of another size.
    """
    shape = image_shape(expected.shape)
    if shape is None:
        raise BadTensor(
            f"{expected.what} have {expected.width} numbers and are no images: send numbers", field="body"
        )
    if expected.white is None:
        raise BadTensor(
            "the model was trained on floats beyond 0 to 1, in which a picture cannot be said: send numbers",
            field="body",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(body), formats=(_FORMATS[media],)) as image:
                pixels = _pixels(image, shape)
    except UnidentifiedImageError:
        raise BadTensor(f"the body is no {_FORMATS[media]}", field="body") from None
    except (
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        OverflowError,
        Warning,
    ) as error:
        raise BadTensor(f"the picture is damaged: {str(error)[:200]}", field="body") from None
    row: Array = pixels.astype(np.float32) * np.float32(expected.white / _WHITE)
    return row.reshape(1, *expected.shape)


def write(reply: Reply, media: str) -> bytes:
    """The one row of the answer as a picture: clipped to black and white, rounded to bytes.

    Raises:
        NotAcceptable: it is no picture, or not one.
    """
    values = reply.values
    shape = image_shape(values.shape[1:]) if reply.white is not None else None
    if shape is None or reply.white is None:
        raise NotAcceptable(f"{reply.name} are no pictures, or came flat: ask for another type than {media}")
    if len(values) != 1:
        raise NotAcceptable(f"a picture holds one row, not {len(values)}: ask for another type than {media}")
    if media == JPEG and shape[0] not in (1, 3):
        raise NotAcceptable(f"a JPEG has no fourth channel: ask for {PNG}")
    scaled = np.clip(values.reshape(shape).astype(np.float64) * (_WHITE / reply.white), 0, _WHITE)
    pixels = scaled.round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    picture.save(buffer, format=_FORMATS[media])
    return buffer.getvalue()


def _pixels(image: Image.Image, shape: tuple[int, int, int]) -> Array:
    channels, height, width = shape
    if (image.height, image.width) != (height, width):
        raise BadTensor(
            f"the picture is {image.width} x {image.height} pixels; the model's are {width} x {height} "
            "(width x height)",
            row=0,
        )
    if image.mode not in _BYTE_MODES:
        raise BadTensor(
            f"its pixels are of the kind {image.mode}; 8-bit grey and colour are read", field="body"
        )
    if channels < 4 and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < _WHITE:
            raise BadTensor("the picture has transparent pixels: put it on a background first", field="body")
        image = image.convert("RGBA")
    pixels: Array = np.asarray(image.convert(_MODES[channels]))
    return pixels if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
