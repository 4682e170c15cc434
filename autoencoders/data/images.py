"""A zip of PNG or JPEG images of one size: grey ones become rows [height, width], colour [3, height, width].

Rows are uint8 and follow the file names in sorted order, which are kept as the id column `file`. Members are
read one by one and never extracted; the size in an image's header is checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from autoencoders.data.arrays import Array
from autoencoders.data.canonical import staged
from autoencoders.data.ids import IdWriter
from autoencoders.data.options import Limits, ReadOptions
from autoencoders.data.staging import Stage, Upload
from autoencoders.data.unpacking import Budget, member_bytes, opened_zip
from autoencoders.errors import DataRefused

_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_GREY, _COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def read_images(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """All images of the archive, in the order of their names."""
    with opened_zip(path, options.limits) as (archive, members):
        pictures = sorted((m for m in members if not _is_litter(m.filename)), key=lambda m: m.filename)
        if not pictures:
            raise DataRefused("the zip holds no images")
        budget = Budget(path.stat().st_size, options.limits, "the zip")
        first = _decoded(archive, pictures[0], options.limits, None, Budget(2**40, options.limits, "the zip"))
        ids = IdWriter(folder / "ids", ["file"])
        with ids, Stage(folder / "upload", "uint8", first.size, options.limits) as stage:
            stage.expect(len(pictures))
            for member in pictures:
                image = _decoded(archive, member, options.limits, first.shape, budget)
                stage.add(image.reshape(1, -1))
                ids.add({"file": [member.filename]})
    upload = staged(stage, first.shape)
    upload.ids = ids.finish()
    return upload


def _is_litter(name: str) -> bool:
    return any(part in _LITTER or part.startswith("._") for part in PurePosixPath(name).parts)


def _decoded(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    limits: Limits,
    expected: tuple[int, ...] | None,
    budget: Budget,
) -> Array:
    content = member_bytes(archive, member, limits, budget)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                _refuse_size(image, member.filename, limits, expected)
                return _pixels(image, member.filename, expected)
    except UnidentifiedImageError:
        raise DataRefused(f"{member.filename!r} is neither PNG nor JPEG") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataRefused(f"{member.filename!r} is too large: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError, Warning) as error:
        raise DataRefused(f"{member.filename!r} is damaged: {error}") from error


def _refuse_size(image: Image.Image, name: str, limits: Limits, expected: tuple[int, ...] | None) -> None:
    width, height = image.size
    if width * height > limits.max_image_pixels:
        most = limits.max_image_pixels
        raise DataRefused(f"{name!r} has {width}x{height} pixels; at most {most:,} are taken")
    if expected is not None and (height, width) != expected[-2:]:
        raise DataRefused(
            f"{name!r} is {width}x{height} while the first image is {expected[-1]}x{expected[-2]}: "
            "all images must have one size"
        )


def _pixels(image: Image.Image, name: str, expected: tuple[int, ...] | None) -> Array:
    grey = image.mode in _GREY
    if not grey and image.mode not in _COLOUR:
        raise DataRefused(
            f"{name!r} has pixels of the kind {image.mode}: 8-bit grey and colour images are read"
        )
    if expected is not None and grey != (len(expected) == 2):
        kinds = ("grey", "in colour") if grey else ("in colour", "grey")
        raise DataRefused(f"{name!r} is {kinds[0]} while the first image is {kinds[1]}")
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            raise DataRefused(f"{name!r} has transparent pixels: put it on a background first")
    pixels: Array = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))
