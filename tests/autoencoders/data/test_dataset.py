"""An opened canonical folder, and the child process that makes one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoencoders.data import Dataset, ReadOptions, write_rows
from autoencoders.data.read_upload import main
from autoencoders.errors import DataRefused
from tests.autoencoders.data.files import csv_bytes, table_rows, upload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(table_rows(), tmp_path / "out", columns=("a", "b", "c"), options=ReadOptions(name="t"))
    return tmp_path / "out"


def test_chunks_hold_every_row_of_their_part_once(folder: Path) -> None:
    dataset = Dataset.open(folder)
    for part, rows in (("training", dataset.training), ("held_out", dataset.held_out)):
        chunks = list(dataset.chunks(part, bytes=7 * 12))  # type: ignore[arg-type]  # the literals
        assert max(map(len, chunks)) == 7
        np.testing.assert_array_equal(np.concatenate(chunks), rows)


def test_rows_are_mapped_and_cannot_be_written(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert isinstance(dataset.training, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset.training[0] = 0


def test_moments_are_those_of_the_rows(folder: Path) -> None:
    dataset = Dataset.open(folder)
    training, held_out = dataset.training.astype(np.float64), dataset.held_out.astype(np.float64)
    moments = dataset.moments
    assert (moments.count, moments.held_out_count) == (180, 20)
    assert moments.covariance is not None
    assert moments.held_out_second_moment is not None
    np.testing.assert_allclose(moments.covariance, np.cov(training.T, bias=True), rtol=1e-12)
    around = held_out - training.mean(axis=0)
    np.testing.assert_allclose(moments.held_out_second_moment, around.T @ around / 20, rtol=1e-12)
    np.testing.assert_array_equal(moments.minimum, training.min(axis=0))


def test_equal_rows_have_equal_hashes_and_others_do_not(tmp_path: Path) -> None:
    rows = table_rows()
    hashes = [
        write_rows(given, tmp_path / str(number), columns=columns).sha256
        for number, (given, columns) in enumerate(
            [
                (rows, None),
                (rows.copy(), None),
                (rows + 1, None),
                (rows, ("a", "b", "c")),
                (rows[:, :, None], None),
            ]
        )
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def read_all(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert dataset.row_numbers is not None
    assert dataset.moments is not None


@pytest.mark.parametrize("file", ["dataset.json", "rows.npy", "row_numbers.npy", "moments.npz"])
@pytest.mark.parametrize("damage", ["gone", "cut", "rubbish"])
def test_a_damaged_folder_is_refused(file: str, damage: str, folder: Path) -> None:
    path = folder / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-20] if damage == "cut" else b"\x93rubbish" * 9)
    with pytest.raises(DataRefused):
        read_all(folder)


def test_a_flipped_bit_is_found(folder: Path) -> None:
    content = bytearray((folder / "rows.npy").read_bytes())
    content[-5] ^= 1
    (folder / "rows.npy").write_bytes(content)
    dataset = Dataset.open(folder)
    with pytest.raises(DataRefused, match="not those of its manifest"):
        dataset.verify()


def test_a_folder_that_moved_opens_as_well(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    Dataset.open(tmp_path / "elsewhere").verify()


def child(request: str, *, argument: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autoencoders.data.read_upload", *([request] if argument else [])]
    given = None if argument else request
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("argument", [True, False])
def test_the_child_answers_with_the_manifest(argument: bool, tmp_path: Path) -> None:
    source = upload(tmp_path, csv_bytes(table_rows()))
    request = {"source": str(source), "destination": str(tmp_path / "out"), "options": {"name": "t"}}
    done = child(json.dumps(request), argument=argument)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "dataset.json").read_text())


def test_the_child_makes_samples_too(tmp_path: Path) -> None:
    request = {"sample": {"name": "blobs", "rows": 50}, "destination": str(tmp_path / "out")}
    done = child(json.dumps(request), argument=True)
    assert done.returncode == 0
    assert Dataset.open(tmp_path / "out").facts.rows == 50


def test_the_child_answers_a_refusal_with_its_place(tmp_path: Path) -> None:
    source = upload(tmp_path, b"a,b\n1,2\n3\n")
    done = child(json.dumps({"source": str(source), "destination": str(tmp_path / "out")}), argument=True)
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "message": "it has 1 cells; the header has 2",
        "row": 1,
        "column": None,
    }
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "request_", ["", "{}", '{"destination": "x"}', '{"destination": "x", "sample": "nope"}']
)
def test_the_child_refuses_a_wrong_request(request_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([request_]) == 3
    assert json.loads(capsys.readouterr().out)["message"]


def test_neither_importing_nor_reading_brings_torch(tmp_path: Path) -> None:
    source = upload(tmp_path, csv_bytes(table_rows()))
    program = f"""
import sys
from pathlib import Path
import autoencoders.data
assert "torch" not in sys.modules, "import"
from autoencoders.data import Dataset, read
read(Path({str(source)!r}), destination=Path({str(tmp_path / "out")!r}))
dataset = Dataset.open(Path({str(tmp_path / "out")!r}))
dataset.moments, dataset.row_numbers, dataset.ids(), list(dataset.chunks())
import autoencoders.data.read_upload
assert "torch" not in sys.modules, "read"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
