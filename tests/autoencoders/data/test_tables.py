"""Roles, missing cells and the four ways to hold rows out."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autoencoders.data import After, Dataset, Fraction, Group, Other, ReadOptions, read, write_rows
from autoencoders.data.split import held_out_by_fraction, held_out_by_group
from autoencoders.errors import DataRefused
from tests.autoencoders.data.files import csv_bytes, parquet_bytes, table_rows, upload


def table_csv(rows: int = 60) -> bytes:
    start = datetime(2024, 1, 1)
    lines = ["key,when,patient,x,note,y"]
    for i in range(rows):
        moment = (start + timedelta(days=i)).isoformat()
        lines.append(f'{1000 + i},{moment},p{i % 6},{i / 4},"said ""{i}"",\nand left",{-i}')
    return "\n".join(lines).encode()


ROLES = {"key": "id", "when": "ignore", "note": "ignore", "patient": "ignore"}


def opened(folder: Path, content: bytes, **options: object) -> Dataset:
    read(upload(folder, content), destination=folder / "out", options=ReadOptions.model_validate(options))
    return Dataset.open(folder / "out")


def test_ids_stay_beside_the_rows_in_upload_order(tmp_path: Path) -> None:
    dataset = opened(tmp_path, table_csv(), roles={**ROLES, "note": "id"})
    assert dataset.facts.columns == ("x", "y")
    ids = dataset.ids()
    assert ids is not None
    assert ids["key"].to_pylist() == [1000 + i for i in range(60)]
    assert ids["note"][7].as_py() == 'said "7",\nand left'
    rows = np.concatenate(list(dataset.chunks("all_in_upload_order")))
    np.testing.assert_array_equal(rows[:, 1], -np.arange(60))


@pytest.mark.parametrize("text", ["007", "1e3", "x", ""])
def test_an_id_that_is_no_plain_number_stays_text(text: str, tmp_path: Path) -> None:
    dataset = opened(tmp_path, f"k,x\n1,2\n{text},3\n5,6\n".encode(), roles={"k": "id"})
    ids = dataset.ids()
    assert ids is not None
    assert ids["k"].to_pylist() == ["1", text, "5"]


def test_an_arrow_tables_ids_keep_their_type(tmp_path: Path) -> None:
    data = pa.table({"k": pa.array([5, 6, 7], pa.int16()), "x": [1.0, 2.0, 3.0]})
    ids = opened(tmp_path, parquet_bytes(data), roles={"k": "id"}).ids()
    assert ids is not None
    assert ids.schema.field("k").type == pa.int16()
    assert ids["k"].to_pylist() == [5, 6, 7]


def test_the_refusal_of_text_shows_a_request_that_works(tmp_path: Path) -> None:
    with pytest.raises(DataRefused) as refused:
        opened(tmp_path, table_csv(), roles={"key": "id"})
    query = refused.value.message.partition("`?")[2].partition("`")[0]
    roles = {
        name: role
        for part in query.split("&")
        for role, names in [part.split("=")]
        for name in names.split(",")
    }
    assert roles == {"when": "ignore", "patient": "ignore", "note": "ignore", "key": "id"}
    assert opened(tmp_path, table_csv(), roles=roles).facts.columns == ("x", "y")


@pytest.mark.parametrize("group", ["role", "holdout"])
def test_a_group_is_never_on_both_sides(group: str, tmp_path: Path) -> None:
    roles = {**ROLES, "patient": "group"}
    holdout = None if group == "role" else {"group": "patient", "fraction": 0.3}
    if group == "holdout":
        roles.pop("patient")
    dataset = opened(tmp_path, table_csv(), roles=roles, holdout=holdout)
    numbers = dataset.row_numbers
    training = {int(i) % 6 for i in numbers[: dataset.facts.training_rows]}
    held_out = {int(i) % 6 for i in numbers[dataset.facts.training_rows :]}
    assert not training & held_out
    assert len(held_out) == (1 if group == "role" else 2)
    assert isinstance(dataset.manifest.holdout, Group)


def test_a_group_stays_on_its_side_when_rows_are_added() -> None:
    holdout = Group(group="g", fraction=0.3)
    names = [f"p{i}" for i in range(10)]
    few = held_out_by_group(np.arange(10), names, holdout)
    more = held_out_by_group(np.arange(11), [*names, "new"], Group(group="g", fraction=0.35))
    assert not (few & ~more[:10]).any()


@pytest.mark.parametrize("after", ["2024-02-09", "2024-02-09T00:00:00+00:00"])
def test_rows_after_a_moment_are_held_out(after: str, tmp_path: Path) -> None:
    dataset = opened(tmp_path, table_csv(), roles={**ROLES, "when": "time"}, holdout={"after": after})
    assert dataset.row_numbers.tolist() == list(range(60))
    assert dataset.facts.training_rows == 40  # the 40th day is the bound itself, which stays


@pytest.mark.parametrize("kind", ["timestamp", "date", "number"])
def test_times_of_every_arrow_type_split(kind: str, tmp_path: Path) -> None:
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(20)]
    column = {
        "timestamp": lambda: pa.array(days, pa.timestamp("ns", "UTC")),
        "date": lambda: pa.array([day.date() for day in days]),
        "number": lambda: pa.array(range(20)),
    }[kind]()
    after: float | str = 14 if kind == "number" else "2024-01-15"
    data = pa.table({"t": column, "x": [float(i) for i in range(20)]})
    dataset = opened(tmp_path, parquet_bytes(data), roles={"t": "time"}, holdout={"after": after})
    assert dataset.row_numbers[dataset.facts.training_rows :].tolist() == [15, 16, 17, 18, 19]
    assert dataset.facts.columns == ("x",)


def test_held_out_rows_may_be_another_datasets(tmp_path: Path) -> None:
    other = table_rows(30) + 1
    write_rows(other, tmp_path / "other", columns=("a", "b", "c"))
    options = ReadOptions(holdout=Other(dataset="test"), holdout_folder=tmp_path / "other")
    manifest = read(upload(tmp_path, csv_bytes(table_rows())), destination=tmp_path / "out", options=options)
    dataset = Dataset.open(tmp_path / "out")
    assert (manifest.training_rows, manifest.held_out_rows) == (200, 30)
    assert manifest.holdout == Other(dataset="test")
    np.testing.assert_array_equal(dataset.training, table_rows())
    np.testing.assert_array_equal(dataset.held_out, other)
    np.testing.assert_array_equal(np.concatenate(list(dataset.chunks("all_in_upload_order"))), table_rows())
    assert dataset.moments.held_out_count == 30
    dataset.verify()


def test_another_datasets_rows_must_be_alike(tmp_path: Path) -> None:
    write_rows(table_rows(30)[:, :2], tmp_path / "other")
    options = ReadOptions(holdout=Other(dataset="test"), holdout_folder=tmp_path / "other")
    with pytest.raises(DataRefused, match="alike"):
        read(upload(tmp_path, csv_bytes(table_rows())), destination=tmp_path / "out", options=options)


@pytest.mark.parametrize("empty", ["", "NA", "nan", "null", "  "])
def test_missing_cells_take_the_training_rows_mean(empty: str, tmp_path: Path) -> None:
    lines = [f"{i}.5,{i * i}" for i in range(40)]
    lines[7] = f"{empty},49"
    dataset = opened(tmp_path, ("a,b\n" + "\n".join(lines)).encode(), missing="mean")
    rows = np.concatenate(list(dataset.chunks("all_in_upload_order")))
    there = [int(i) for i in dataset.row_numbers[: dataset.facts.training_rows] if i != 7]
    assert rows[7].tolist() == [np.float32(np.mean([i + 0.5 for i in there])), 49]
    assert dataset.manifest.columns is not None
    assert [column.missing for column in dataset.manifest.columns] == [1, 0]


def test_a_null_among_bytes_is_filled_as_a_float(tmp_path: Path) -> None:
    data = pa.table({"a": pa.array([1, None, 4, 4], pa.uint8()), "b": pa.array([1, 2, 3, 4], pa.uint8())})
    assert opened(tmp_path, parquet_bytes(data), missing="mean").facts.dtype == "float32"


def test_a_table_of_bytes_stays_bytes(tmp_path: Path) -> None:
    data = pa.table({"a": pa.array([1, 2, 255], pa.uint8()), "b": pa.array([1, 2, 3], pa.uint8())})
    dataset = opened(tmp_path, parquet_bytes(data))
    assert dataset.facts.dtype == "uint8"
    assert dataset.facts.maximum == 255


def test_a_column_that_is_missing_throughout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="column 'b'"):
        opened(tmp_path, b"a,b\n1,\n2,\n3,\n", missing="mean")


def test_a_row_without_its_group_is_refused(tmp_path: Path) -> None:
    data = pa.table({"g": ["p", None, "q"], "x": [1.0, 2.0, 3.0]})
    with pytest.raises(DataRefused, match="row 1, column 'g'"):
        opened(tmp_path, parquet_bytes(data), holdout={"group": "g"})


@pytest.mark.parametrize("rows", [2, 3, 9, 1000, 3_000_001])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.999])
def test_a_fraction_holds_out_exactly_its_share_and_leaves_both_sides_a_row(
    rows: int, fraction: float
) -> None:
    mask = held_out_by_fraction(rows, Fraction(fraction=fraction))
    assert mask.sum() == min(max(1, round(fraction * rows)), rows - 1)


def test_every_row_is_held_out_equally_often() -> None:
    counts = sum(
        held_out_by_fraction(20, Fraction(seed=seed, fraction=0.25)).astype(int) for seed in range(2000)
    )
    np.testing.assert_allclose(counts, 500, atol=100)


def test_numbered_headers_are_headers(tmp_path: Path) -> None:
    assert opened(tmp_path, b"0,1,2\n5,6,7\n7,8,9\n").facts.columns == ("0", "1", "2")


def test_options_survive_json() -> None:
    for holdout in (Fraction(), Group(group="g"), After(after="2024-01-01"), Other(dataset="x"), None):
        options = ReadOptions(holdout=holdout, roles={"a": "id"})
        assert ReadOptions.model_validate_json(options.model_dump_json()) == options
