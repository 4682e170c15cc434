"""Whatever is sent becomes a dataset or a refusal that names the place, which leaves nothing behind."""

import gzip
import io
import os
import pickle
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autoencoders.data import After, Group, Limits, Other, ReadOptions, read, write_rows
from autoencoders.errors import AutoencoderError, DataRefused
from tests.autoencoders.data.files import (
    NAMES,
    arrow_bytes,
    csv_bytes,
    image_bytes,
    lists,
    npy_bytes,
    npz_bytes,
    parquet_bytes,
    table_rows,
    upload,
    zip_bytes,
)


class Touches:
    """Unpickled, it would leave a marker."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/unpickled-marker",)


def header_only(shape: str, descr: str = "<f4", body: bytes = b"\0" * 64) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def pickled_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[Touches()], [Touches()]], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def symlink_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    content = bytearray(zip_bytes({"a.png": grey(), "b.png": grey()}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 1)
    return bytes(content)


def lying_zip() -> bytes:
    """Its directory says that a member of a megabyte has 100 bytes."""
    content = bytearray(zip_bytes({"a.png": bytes(2**20), "b.png": grey()}))
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(content)


def grey(height: int = 4, width: int = 4) -> bytes:
    return image_bytes(np.zeros((height, width), np.uint8))


def noise() -> bytes:
    return image_bytes(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))


def huge_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def bomb_parquet() -> bytes:
    return parquet_bytes(pa.table({"a": pa.array(np.zeros(5_000_000, np.float32)).dictionary_encode()}))


def null_column() -> bytes:
    batch = pa.record_batch({"a": pa.nulls(2_000_000_000)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def csv(text: str, encoding: str = "utf-8") -> bytes:
    return text.encode(encoding)


GOOD = "a,b\n1,2\n3,4\n5,6\n"
zeros = np.zeros((4, 3), np.float32)

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "raw pickle": (pickle.dumps([Touches()]), "pickled"),
    "npy of objects": (pickled_npy(), "pickled|header"),
    "npy of 10^12 floats": (header_only("(1000000000000,)"), r"\[rows, features\]"),
    "npy of 10^12 rows": (header_only("(1000000000000, 8)"), "promises 32,000,000,000,000 bytes"),
    "npy of a negative shape": (header_only("(-4, 4)"), "impossible"),
    "npy of an overflowing shape": (header_only(f"({2**62}, {2**62})"), "promises"),
    "npy of a shape of True": (header_only("(True, 16)"), "impossible|header"),
    "npy cut short": (npy_bytes(zeros)[:-3], "the file holds 45"),
    "npy with a tail": (npy_bytes(zeros) + b"x", "the file holds 49"),
    "npy header of code": (header_only("__import__('os')"), "header"),
    "npy version 9": (b"\x93NUMPY\x09\x00" + bytes(100), "header"),
    "npy of text": (npy_bytes(np.array([["a"], ["b"]])), "dtype"),
    "npy of dates": (npy_bytes(np.array([["2020-01-01"]] * 2, dtype="M8[D]")), "dtype"),
    "npy of complex numbers": (npy_bytes(zeros.astype(complex)), "dtype"),
    "npy of records": (npy_bytes(np.zeros((2, 2), dtype=[("a", "f4")])), "dtype"),
    "npy of no columns": (npy_bytes(zeros[:, :0]), "no columns"),
    "npy of one row": (npy_bytes(zeros[:1]), "at least two rows"),
    "npy of no rows": (npy_bytes(zeros[:0]), "at least two rows"),
    "npy float64 too large": (npy_bytes(np.array([[1.0, 2], [3, 1e308]])), "row 1, column 1: .*too large"),
    "npy with an infinity": (npy_bytes(np.array([[1, -np.inf], [3, 4]], np.float32)), "row 0, column 1"),
    "npy with a NaN": (npy_bytes(np.array([[1, 2], [np.nan, 4]], np.float32)), "row 1, column 0"),
    "npz bomb": (npz_bytes(True, x=np.zeros((50, 100_000), np.float32)), "unpacks to more"),
    "npz of objects": (zip_bytes({"x.npy": pickled_npy()}), "pickled|header"),
    "npz of several arrays": (npz_bytes(False, first=zeros, second=zeros), "'first', 'second'"),
    "npz of two candidates": (npz_bytes(False, x=zeros, data=zeros), "'x', 'data'"),
    "npz of rubbish": (zip_bytes({"x.npy": b"rubbish"}), "header"),
    "gzip bomb": (gzip.compress(b"a,b\n" + b"1,2\n" * 2_000_000), "unpacks to more"),
    "gzip in gzip": (gzip.compress(gzip.compress(csv(GOOD))), "gzip within gzip"),
    "gzip cut short": (gzip.compress(csv(GOOD))[:-9], "damaged"),
    "parquet bomb": (bomb_parquet(), "times its size"),
    "parquet cut short": (parquet_bytes(pa.table({"a": [1.0, 2.0]}))[:-10], "cannot be read"),
    "parquet of text": (parquet_bytes(pa.table({"a": [1.0, 2.0], "t": ["x", "y"]})), r"`\?ignore=t`"),
    "parquet of dates": (parquet_bytes(pa.table({"a": [1], "d": pa.array([0], pa.date32())})), "date32"),
    "parquet of ragged lists": (parquet_bytes(pa.table({"v": [[1.0, 2.0], [3.0]]})), "row 1, column 'v'"),
    "parquet of a missing list": (parquet_bytes(pa.table({"v": [[1.0, 2.0], None]})), "row 1, column 'v'"),
    "parquet with a null": (parquet_bytes(pa.table({"a": [1, None, 3]})), "row 1, column 'a': .*a: 1"),
    "arrow of 2 * 10^9 nulls": (null_column(), "do not hold numbers|declares"),
    "arrow cut short": (arrow_bytes(lists(table_rows(2000)), stream=True)[:5000], "cannot be read"),
    "arrow rubbish": (b"ARROW1\0\0" + bytes(range(256)) * 4, "cannot be read"),
    "arrow with duplicate columns": (
        arrow_bytes(pa.table([[1.0, 2.0], [1.0, 2.0]], names=["a", "a"]), stream=True),
        "column 'a': two columns",
    ),
    "zip of nothing": (zip_bytes({}), "no images"),
    "zip upwards": (zip_bytes({"../../etc/evil.png": grey()}), "outside"),
    "zip of an absolute path": (zip_bytes({"/etc/evil.png": grey()}), "absolute"),
    "zip of a backslash": (zip_bytes({"a\\b.png": grey()}), "malformed"),
    "zip of a drive": (zip_bytes({"C:x.png": grey()}), "malformed"),
    "zip of a link": (symlink_zip(), "symbolic link"),
    "zip encrypted": (encrypted_zip(), "encrypted"),
    "zip that lies": (lying_zip(), "damaged|neither"),
    "zip in zip": (zip_bytes({"a.zip": zip_bytes({"a.png": grey()})}), "neither PNG nor JPEG"),
    "zip of text": (zip_bytes({"a.png": grey(), "notes.txt": b"hello"}), "'notes.txt' is neither"),
    "zip of 400 megapixels": (zip_bytes({"a.png": huge_png(20_000)}), "too large|pixels"),
    "zip of 100 megapixels": (zip_bytes({"a.png": huge_png(10_000)}), "too large|pixels"),
    "zip of 16 megapixels": (zip_bytes({"a.png": huge_png(4_000)}), "4000x4000 pixels"),
    "zip bomb": (zip_bytes({f"{i}.png": grey() + bytes(2**20) for i in range(4)}), "unpacks to more"),
    "zip of two sizes": (zip_bytes({"a.png": grey(), "b.png": grey(5, 4)}), "'b.png' is 4x5"),
    "zip of grey and colour": (
        zip_bytes({"a.png": grey(), "b.png": image_bytes(np.zeros((4, 4, 3), np.uint8))}),
        "'b.png' is in colour",
    ),
    "zip of a damaged image": (zip_bytes({"a.png": noise()[:2000], "b.png": noise()}), "'a.png' is damaged"),
    "zip of see-through images": (
        zip_bytes({"a.png": image_bytes(np.zeros((4, 4, 4), np.uint8))}),
        "transparent",
    ),
    "zip of one image": (zip_bytes({"a.png": grey()}), "at least two rows"),
    "one image": (grey(), "zip of images"),
    "an Office file": (zip_bytes({"[Content_Types].xml": b"<x/>"}), "Office"),
    "JSON": (b'{"a": [1, 2]}', "JSON"),
    "random bytes": (bytes(range(256)) * 8, "none of the formats"),
    "csv ragged, short": (csv("a,b\n1,2\n3\n"), "row 1: it has 1 cells; the header has 2"),
    "csv ragged, long": (csv("a,b\n1,2\n3,4,5\n"), "row 1: it has 3 cells"),
    "csv of a huge line": (csv("a,b\n1," + "2" * 5_000_000 + "\n"), "line 2 is longer"),
    "csv of a huge header": (csv("a" * 5_000_000), "first line is longer"),
    "csv of a header": (csv("a,b\n"), "no rows"),
    "csv in latin-1": (csv("a,b\n1,2\n3,caf\xe9\n", "latin-1"), "0xe9 in line 3"),
    "csv with a latin-1 header": (csv("a,\xe9\n1,2\n", "latin-1"), "0xe9 in the first line"),
    "csv in UTF-16": (csv(GOOD, "utf-16"), "UTF-16"),
    "csv with a NUL": (csv("a,b\n1,2\n" * 20_000 + "3,\0\n"), "holds a NUL"),
    "csv with an infinity": (csv("a,b\n1,2\n3,inf\n"), "row 1, column 'b': inf is not finite"),
    "csv with 1e999": (csv("a,b\n1,1e999\n3,4\n"), "row 0, column 'b'"),
    "csv with 1e308": (csv("a,b\n1,1e308\n3,4\n"), "row 0, column 'b': .*too large"),
    "csv with nan": (csv("a,b\n1,2\nnan,4\n"), "row 1, column 'a'"),
    "csv with an empty cell": (csv("a,b\n1,2\n,4\n,\n"), "row 1, column 'a': .*3 missing.*a: 2, b: 1"),
    "csv with a typing error": (csv("a,b\n1,2\n3,4\n5,6x\n"), "row 2, column 'b': '6x' is not a number"),
    "csv with text": (csv("a,t,u v\n1,x,p\n2,y,q\n"), r"`\?ignore=t,u%20v`.*'a', 't', 'u v'"),
    "csv with duplicate headers": (csv("a,a\n1,2\n3,4\n"), "column 'a': two columns"),
    "csv with a formula": (csv("a,b\n=cmd,2\n3,4\n=cmd,2\n"), "do not hold numbers|not a number"),
    "csv of an unnamed index": (csv(",b\n0,2\n1,4\n"), "unnamed_0"),
    "csv of 50,000 columns": (
        (",".join(f"c{i}" for i in range(50_000)) + "\n").encode(),
        "50,000 columns; at most 20,000",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_upload_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    content, message = REFUSED[case]
    path = upload(tmp_path, content)
    before = path.stat().st_size
    with pytest.raises(DataRefused, match=f"(?s){message}"):
        read(path, destination=tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["upload.bin"]
    assert path.stat().st_size == before
    assert not Path("/tmp/unpickled-marker").exists()


OPTIONS: dict[str, tuple[ReadOptions, str]] = {
    "a role for a column that is not there": (ReadOptions(roles={"z": "ignore"}), "column 'z': there is no"),
    "a group that is not there": (ReadOptions(holdout=Group(group="z")), "column 'z'"),
    "one group": (ReadOptions(holdout=Group(group="a")), "at least two groups"),
    "no time column": (ReadOptions(holdout=After(after=1)), "role `time`"),
    "a time after which there is nothing": (
        ReadOptions(roles={"b": "time"}, holdout=After(after=99)),
        "no row is later",
    ),
    "a time before everything": (ReadOptions(roles={"b": "time"}, holdout=After(after=-99)), "every row"),
    "a time that is none": (ReadOptions(roles={"b": "time"}, holdout=After(after="soon")), "'soon'"),
    "everything ignored": (ReadOptions(roles=dict.fromkeys(NAMES, "ignore")), "no column is left"),
    "another dataset that is not at hand": (ReadOptions(holdout=Other(dataset="x")), "not at hand"),
    "too many bytes": (ReadOptions(limits=Limits(max_bytes=20)), "limit of 20 bytes"),
    "too many rows": (ReadOptions(limits=Limits(max_rows=2)), "at most 2"),
    "too many columns": (ReadOptions(limits=Limits(max_columns=2)), "at most 2"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_what_was_asked_for_and_cannot_be_is_refused(case: str, tmp_path: Path) -> None:
    options, message = OPTIONS[case]
    path = upload(tmp_path, b"a,b,c\n7,0,0\n7,1,3\n7,2,9\n")
    with pytest.raises(DataRefused, match=message):
        read(path, destination=tmp_path / "out", options=options)
    assert [entry.name for entry in tmp_path.iterdir()] == ["upload.bin"]


def test_roles_are_refused_where_columns_have_no_names(tmp_path: Path) -> None:
    path = upload(tmp_path, npy_bytes(zeros))
    with pytest.raises(DataRefused, match="no named columns"):
        read(path, destination=tmp_path / "out", options=ReadOptions(roles={"a": "id"}))


def test_a_destination_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    write_rows(table_rows(), tmp_path / "out")
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir())
    with pytest.raises(FileExistsError):
        read(upload(tmp_path, csv_bytes(table_rows(5))), destination=tmp_path / "out")
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "out").iterdir()) == before


@pytest.mark.parametrize("form", ["parquet", "arrow", "npz", "png", "csv"])
def test_mutated_files_are_read_or_refused_and_nothing_else(form: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(5)
    rows = table_rows(50)
    whole = {
        "parquet": lambda: parquet_bytes(pa.table({"a": rows[:, 0], "b": rows[:, 1]})),
        "arrow": lambda: arrow_bytes(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), stream=False),
        "npz": lambda: npz_bytes(True, x=rows),
        "png": lambda: zip_bytes({f"{i}.png": grey(8, 8) for i in range(3)}),
        "csv": lambda: csv_bytes(rows),
    }[form]()
    for number in range(60):
        content = bytearray(whole)
        for at in draws.integers(0, len(content), 3):
            content[at] = draws.integers(256)
        try:
            read(upload(tmp_path, bytes(content)), destination=tmp_path / str(number))
        except AutoencoderError:
            assert not (tmp_path / str(number)).exists()
