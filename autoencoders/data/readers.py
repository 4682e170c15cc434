"""From an uploaded file of any format to the canonical folder; nothing is left behind where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from autoencoders.data.arrow_files import read_arrow, read_parquet
from autoencoders.data.canonical import assemble, building
from autoencoders.data.csv_files import read_csv
from autoencoders.data.formats import Format, agreed, sniff
from autoencoders.data.images import read_images
from autoencoders.data.manifest import Manifest
from autoencoders.data.npy_files import read_npy, read_npz
from autoencoders.data.options import ReadOptions
from autoencoders.data.staging import Upload
from autoencoders.data.unpacking import ungzipped
from autoencoders.errors import DataRefused

READERS: dict[Format, Callable[[Path, Path, ReadOptions], Upload]] = {
    "npy": read_npy,
    "npz": read_npz,
    "csv": read_csv,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "images": read_images,
}
_TABLES = ("csv", "parquet", "arrow")


def read(
    source: Path,
    *,
    destination: Path,
    format: str | None = None,  # noqa: A002  # the word that clients know
    options: ReadOptions | None = None,
) -> Manifest:
    """Make an uploaded file into a canonical folder.

    Args:
        source: the upload; gzip is seen by its content and unpacked.
        destination: a folder that does not exist yet, or is empty.
        format: what its sender called it; the content decides, and must agree.
        options: roles, missing cells, holdout and limits.

    Raises:
        DataRefused: it cannot become a dataset; the place is named, and nothing is left in the destination.
        FileExistsError: the destination holds something.
    """
    options = options or ReadOptions()
    with building(destination) as folder:
        plain = ungzipped(source, folder / "ungzipped", options.limits)
        found = agreed(format, sniff(plain))
        if found not in _TABLES and (options.roles or not _splits_without_columns(options)):
            raise DataRefused(f"roles and splits by column are for tables; {found} has no named columns")
        try:
            upload = READERS[found](plain, folder, options)
        except (pa.ArrowException, UnicodeError) as error:
            raise DataRefused(f"the {found} upload is damaged: {str(error)[:300]}") from error
        manifest = assemble(upload, folder, options)
        (folder / "ungzipped").unlink(missing_ok=True)
    return manifest


def _splits_without_columns(options: ReadOptions) -> bool:
    return options.holdout is None or type(options.holdout).__name__ in ("Fraction", "Other")
