"""Zips of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoencoders.data import Dataset, read
from tests.autoencoders.data.files import image_bytes, upload, zip_bytes

DRAWS = np.random.default_rng(3)
GREY = DRAWS.integers(0, 256, (12, 6, 5)).astype(np.uint8)
COLOUR = DRAWS.integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)


def opened(folder: Path, members: dict[str, bytes]) -> Dataset:
    read(upload(folder, zip_bytes(members)), destination=folder / "out")
    return Dataset.open(folder / "out")


def rows(dataset: Dataset) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.concatenate(list(dataset.chunks("all_in_upload_order")))


@pytest.mark.parametrize("colour", [False, True])
def test_images_become_bytes_in_the_order_of_their_names(colour: bool, tmp_path: Path) -> None:
    pixels = COLOUR if colour else GREY
    names = [f"folder/{i:02}.png" for i in range(12)]
    backwards = dict(
        reversed([(name, image_bytes(image)) for name, image in zip(names, pixels, strict=True)])
    )
    backwards |= {"__MACOSX/._00.png": b"litter", "folder/.DS_Store": b"litter"}
    dataset = opened(tmp_path, backwards)
    assert dataset.facts.shape == ((3, 6, 5) if colour else (6, 5))
    assert dataset.facts.dtype == "uint8"
    assert dataset.facts.is_image
    expected = pixels.transpose(0, 3, 1, 2) if colour else pixels
    np.testing.assert_array_equal(rows(dataset), expected.reshape(12, -1))
    ids = dataset.ids()
    assert ids is not None
    assert ids["file"].to_pylist() == names


def test_jpegs_are_read_and_large_sets_too(tmp_path: Path) -> None:
    smooth = np.full((8, 8), 100, np.uint8)
    dataset = opened(tmp_path, {f"{i}.jpg": image_bytes(smooth, "JPEG") for i in range(300)})
    assert dataset.facts.rows == 300
    np.testing.assert_allclose(rows(dataset).astype(int), 100, atol=2)


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    opaque = np.concatenate([COLOUR, np.full((12, 6, 5, 1), 255, np.uint8)], axis=3)
    dataset = opened(tmp_path, {f"{i:02}.png": image_bytes(image) for i, image in enumerate(opaque)})
    np.testing.assert_array_equal(rows(dataset), COLOUR.transpose(0, 3, 1, 2).reshape(12, -1))


def test_the_readers_leave_pillows_own_limit_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    opened(tmp_path, {f"{i}.png": image_bytes(image) for i, image in enumerate(GREY)})
    assert before == Image.MAX_IMAGE_PIXELS
