"""A table's id columns on their way beside the rows, as an Arrow IPC file in upload order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_BATCH_ROWS = 65_536


class IdWriter:
    """Writes the columns as they come; text that is whole numbers throughout becomes int64 in the end.

    Args:
        path: the file to write.
        names: the id columns.
        types: their Arrow types; text where not given.
    """

    def __init__(
        self, path: Path, names: Sequence[str], types: Mapping[str, pa.DataType] | None = None
    ) -> None:
        self._path, self._names = path, list(names)
        self._schema = pa.schema([(name, (types or {}).get(name, pa.string())) for name in names])
        self._whole = {field.name: True for field in self._schema if pa.types.is_string(field.type)}
        self._waiting: list[pa.RecordBatch] = []
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> IdWriter:
        self._writer = pa.ipc.new_file(str(self._path), self._schema)
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._flush()
            self._writer.close()

    def add(self, columns: Mapping[str, Any]) -> None:
        """Keep more rows: arrays or lists by column name."""
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        self._waiting.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        if (
            sum(batch.num_rows for batch in self._waiting) >= _BATCH_ROWS
            or self._waiting[-1].num_rows > 1_000
        ):
            self._flush()

    def _flush(self) -> None:
        if not self._waiting or self._writer is None:
            return
        table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        self._waiting = []
        for name, whole in self._whole.items():
            self._whole[name] = whole and _all_whole(table[name])
        self._writer.write_table(table)

    def finish(self) -> Path:
        """The finished file."""
        whole = [name for name, is_whole in self._whole.items() if is_whole]
        if whole and self._path.stat().st_size:
            self._retype(whole)
        return self._path

    def _retype(self, whole: Sequence[str]) -> None:
        """Numbers that were sent as text, batch by batch, so that ids of any number fit in memory."""
        target = self._path.with_suffix(".typed")
        schema = pa.schema([(f.name, pa.int64() if f.name in whole else f.type) for f in self._schema])
        with pa.memory_map(str(self._path)) as file, pa.ipc.new_file(str(target), schema) as writer:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                writer.write_table(pa.Table.from_batches([reader.get_batch(number)]).cast(schema))
        target.replace(self._path)


def _all_whole(column: pa.ChunkedArray) -> bool:
    """Whether each text is the one way to write its int64: a leading zero would be lost by the cast."""
    verdict = pc.all(pc.match_substring_regex(column, r"^(0|-?[1-9][0-9]{0,17})$")).as_py()
    return bool(verdict) and column.null_count == 0
