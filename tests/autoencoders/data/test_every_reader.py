"""Laws of the readers: one table is one dataset, whatever file it came in."""

from pathlib import Path

import numpy as np
import pytest

from autoencoders.data import Dataset, Fraction, ReadOptions, read
from autoencoders.data.formats import format_of_media_type
from autoencoders.errors import DataRefused
from tests.autoencoders.data.files import FORMATS, NAMES, npy_bytes, table_rows, upload


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_canonical_rows(form: str, tmp_path: Path) -> None:
    rows = table_rows()
    manifest = read(upload(tmp_path, FORMATS[form](rows)), destination=tmp_path / "out")
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.manifest == manifest
    assert (manifest.rows, manifest.training_rows, manifest.held_out_rows) == (200, 180, 20)
    assert manifest.shape == (3,)
    assert manifest.dtype == "float32"
    in_order = np.concatenate(list(dataset.chunks("all_in_upload_order", bytes=100)))
    np.testing.assert_array_equal(in_order, rows)
    np.testing.assert_array_equal(dataset.training, rows[dataset.row_numbers[:180]])
    np.testing.assert_array_equal(dataset.held_out, rows[dataset.row_numbers[180:]])
    dataset.verify()
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"dataset.json", "rows.npy", "row_numbers.npy", "moments.npz"}


def test_tables_of_every_format_have_one_hash(tmp_path: Path) -> None:
    named = [form for form in FORMATS if not form.startswith("np") and form not in _WITHOUT_NAMES]
    hashes = set()
    for number, form in enumerate(named):
        path = upload(tmp_path, FORMATS[form](table_rows()))
        hashes.add(read(path, destination=tmp_path / str(number)).sha256)
    assert len(named) > 6
    assert len(hashes) == 1


_WITHOUT_NAMES = ("csv without a header", "parquet of lists")


@pytest.mark.parametrize("form", FORMATS)
def test_the_split_depends_on_the_seed_alone(form: str, tmp_path: Path) -> None:
    path = upload(tmp_path, FORMATS[form](table_rows()))
    numbers = []
    for number, seed in enumerate((3, 3, 4)):
        options = ReadOptions(holdout=Fraction(fraction=0.25, seed=seed))
        read(path, destination=tmp_path / str(number), options=options)
        numbers.append(Dataset.open(tmp_path / str(number)).row_numbers.tolist())
    assert numbers[0] == numbers[1] != numbers[2]
    assert sorted(numbers[2]) == list(range(200))


def test_a_preview_and_statistics_describe_the_columns(tmp_path: Path) -> None:
    rows = table_rows()
    manifest = read(upload(tmp_path, FORMATS["csv"](rows)), destination=tmp_path / "out")
    assert manifest.preview == rows[:5].tolist()
    assert manifest.columns is not None
    assert [column.name for column in manifest.columns] == NAMES
    for column, values in zip(manifest.columns, rows.T.astype(np.float64), strict=True):
        assert column.statistics is not None
        assert column.statistics.minimum == values.min()
        assert column.statistics.maximum == values.max()
        np.testing.assert_allclose(column.statistics.mean, values.mean(), rtol=1e-12)
        np.testing.assert_allclose(column.statistics.std, values.std(), rtol=1e-12)
    np.testing.assert_allclose(manifest.statistics.std, rows.astype(np.float64).std(), rtol=1e-12)
    np.testing.assert_allclose(manifest.statistics.mean, rows.astype(np.float64).mean(), rtol=1e-12)


def test_a_declared_format_must_agree_with_the_content(tmp_path: Path) -> None:
    path = upload(tmp_path, FORMATS["npy float32"](table_rows()))
    assert format_of_media_type("text/csv; charset=utf-8") == "csv"
    assert format_of_media_type("application/octet-stream") is None
    read(path, destination=tmp_path / "right", format="npy")
    with pytest.raises(DataRefused, match="said to be csv, but its content is npy"):
        read(path, destination=tmp_path / "wrong", format="csv")


@pytest.mark.parametrize("dtype", ["float16", "int8", "int16", "int32", "int64", "uint16", "bool"])
def test_other_numbers_become_float32(dtype: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 2, (20, 2, 3)).astype(dtype)
    manifest = read(upload(tmp_path, npy_bytes(rows)), destination=tmp_path / "out")
    assert manifest.dtype == "float32"
    assert manifest.shape == (2, 3)
    stored = np.concatenate(list(Dataset.open(tmp_path / "out").chunks("all_in_upload_order")))
    np.testing.assert_array_equal(stored, rows.reshape(20, 6).astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_stay_bytes_in_either_order(order: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (50, 4, 3)).astype(np.uint8)
    array = np.asfortranarray(rows) if order == "F" else rows
    manifest = read(upload(tmp_path, npy_bytes(array)), destination=tmp_path / "out")
    assert (manifest.dtype, manifest.shape) == ("uint8", (4, 3))
    stored = np.concatenate(list(Dataset.open(tmp_path / "out").chunks("all_in_upload_order")))
    np.testing.assert_array_equal(stored, rows.reshape(50, 12))
