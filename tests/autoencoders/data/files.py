"""Uploads for the tests: one table in every format, and images."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Array = npt.NDArray[np.float32]
NAMES = ["a", "b", "c"]


def table_rows(rows: int = 200) -> Array:
    """Numbers that float32 holds and text repeats exactly."""
    return (np.random.default_rng(1).integers(-999, 999, (rows, 3)) / 8).astype(np.float32)


def csv_bytes(rows: Array, delimiter: str = ",", header: bool = True) -> bytes:
    lines = [delimiter.join(NAMES)] if header else []
    lines += [delimiter.join(map(str, row)) for row in rows.tolist()]
    return "\n".join(lines).encode() + b"\n"


def npy_bytes(rows: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(compressed: bool, **arrays: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    if compressed:
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
    else:
        np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def table(rows: Array) -> pa.Table:
    return pa.table({name: rows[:, i] for i, name in enumerate(NAMES)})


def parquet_bytes(data: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(data, buffer)
    return buffer.getvalue()


def arrow_bytes(data: pa.Table, *, stream: bool, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(buffer, data.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(data, max_chunksize=64)
    return buffer.getvalue()


def lists(rows: Array) -> pa.Table:
    return pa.table({"vector": pa.array(rows.tolist(), pa.list_(pa.float64()))})


FORMATS: dict[str, Callable[[Array], bytes]] = {
    "npy float32": npy_bytes,
    "npy float64": lambda rows: npy_bytes(rows.astype(np.float64)),
    "npy big endian": lambda rows: npy_bytes(rows.astype(">f4")),
    "npy Fortran order": lambda rows: npy_bytes(np.asfortranarray(rows)),
    "npz": lambda rows: npz_bytes(False, anything=rows),
    "npz compressed": lambda rows: npz_bytes(True, x=rows, y=np.zeros(3)),
    "csv": csv_bytes,
    "csv semicolons": lambda rows: csv_bytes(rows, ";"),
    "csv tabs and CRLF": lambda rows: csv_bytes(rows, "\t").replace(b"\n", b"\r\n"),
    "csv with a byte order mark": lambda rows: b"\xef\xbb\xbf" + csv_bytes(rows),
    "csv without a header": lambda rows: csv_bytes(rows, header=False),
    "csv quoted": lambda rows: b'"a","b","c"\n' + csv_bytes(rows, header=False),
    "csv gzip": lambda rows: gzip.compress(csv_bytes(rows)),
    "npy gzip": lambda rows: gzip.compress(npy_bytes(rows)),
    "parquet": lambda rows: parquet_bytes(table(rows)),
    "parquet of lists": lambda rows: parquet_bytes(lists(rows)),
    "arrow file": lambda rows: arrow_bytes(table(rows), stream=False),
    "arrow stream": lambda rows: arrow_bytes(table(rows), stream=True),
    "arrow file zstd": lambda rows: arrow_bytes(table(rows), stream=False, compression="zstd"),
}


def image_bytes(pixels: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(folder: Path, content: bytes) -> Path:
    path = folder / "upload.bin"
    path.write_bytes(content)
    return path
