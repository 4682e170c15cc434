"""CSV: strict UTF-8, one header, every row as wide as it; what cannot be read is named by row and column.

Cells are read as text and cast afterwards, so that a bad one has a place and a column that turns to text
half-way is not guessed at. `,`, `;` and tab separate; a first line of numbers alone is a row, unless it
counts 0, 1, 2, …
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from autoencoders.data.arrays import Array
from autoencoders.data.columns import Plan, check_names, plan
from autoencoders.data.intake import TableIntake, block_of, numbers
from autoencoders.data.options import Limits, ReadOptions
from autoencoders.data.staging import Upload
from autoencoders.errors import DataRefused

# Cells of one digit take twenty times their text once they are parsed: a block of text stays small.
_BLOCK_BYTES = 2**20
_ABSENT = pa.array(["", "na", "n/a", "#n/a", "nan", "null", "none"])
_NUMBER = r"^\s*[-+]?((\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[iI]nf(inity)?)\s*$"


def read_csv(path: Path, folder: Path, options: ReadOptions) -> Upload:
    """A text table; columns become float32."""
    with path.open("rb") as file:
        header = _Header.read(file, options)
        source = _CheckedText(file, options.limits, header.lines)
        batches = _batches(source, header, options)
        first = next(batches, None)
        if first is None:
            raise DataRefused("the table has a header and no rows")
        columns = plan(header.names, _text_columns(first), options)
        types = dict.fromkeys(columns.named("id"), pa.string())
        with TableIntake(columns, folder, options, "float32", types) as intake:
            _take(intake, columns, first)
            for batch in batches:
                _take(intake, columns, batch)
    return intake.finish()


def _take(intake: TableIntake, columns: Plan, batch: pa.RecordBatch) -> None:
    row = intake.stage.rows
    used = [_cast(batch.column(name), name, row) for name in columns.named("use")]
    intake.add({name: batch.column(name) for name in columns.needed}, block_of(used, "float32"))


class _Header:
    """The columns' names and how cells are separated."""

    def __init__(self, names: list[str], delimiter: str, lines: int) -> None:
        self.names, self.delimiter, self.lines = names, delimiter, lines

    @classmethod
    def read(cls, file: BinaryIO, options: ReadOptions) -> _Header:
        """Read it and leave the file at the first row."""
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        start = file.tell()
        record, lines = b"", 0
        while True:
            line = file.readline(options.limits.max_line_bytes + 1)
            record, lines = record + line, lines + 1
            if len(record) > options.limits.max_line_bytes:
                raise DataRefused(f"the first line is longer than {options.limits.max_line_bytes:,} bytes")
            if not line or (record.count(b'"') % 2 == 0 and record.strip()):
                break
        text = _decoded(record)
        delimiter = _delimiter(text)
        cells = [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
        if not cells:
            raise DataRefused("the upload is empty")
        if _is_row(cells):
            file.seek(start)
            cells, lines = [str(number) for number in range(len(cells))], 0
        names = [cell or f"unnamed_{number}" for number, cell in enumerate(cells)]
        check_names(names, options)
        for name, cell in zip(names, cells, strict=True):
            if not cell and name not in options.roles:
                raise DataRefused(
                    f"a column without a name (an index?): say what it is, `?ignore={name}` or `?id={name}`",
                    column=name,
                )
        return cls(names, delimiter, lines)


def _decoded(record: bytes) -> str:
    try:
        return record.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataRefused(
            f"the text is not UTF-8: byte {record[error.start]:#04x} in the first line"
        ) from None


def _delimiter(line: str) -> str:
    return max((",", ";", "\t"), key=line.count)


def _is_row(cells: list[str]) -> bool:
    """Whether a first line is data: all numbers, but not the numbering that nameless columns are given."""
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return False
    return values != [values[0] + step for step in range(len(values))] or values[0] not in (0, 1)


class _CheckedText(io.RawIOBase):
    """Hands bytes on once they are known to be UTF-8 without NUL, in lines of bounded length."""

    def __init__(self, file: BinaryIO, limits: Limits, lines: int) -> None:
        self._file, self._most, self._line = file, limits.max_line_bytes, lines
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._open_bytes = 0
        self.refusal: DataRefused | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the file, checked."""
        try:
            piece = self._file.read(size)
            self._check(piece)
        except DataRefused as refusal:
            self.refusal = refusal
            raise
        return piece

    def _check(self, piece: bytes) -> None:
        try:
            self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._line + piece[: error.start].count(b"\n") + 1
            byte = f"{error.object[error.start]:#04x}"
            message = f"the text is not UTF-8: byte {byte} in line {line:,}; save it as UTF-8"
            raise DataRefused(message) from None
        if b"\0" in piece:
            line = self._line + piece[: piece.index(b"\0")].count(b"\n") + 1
            raise DataRefused(f"line {line:,} holds a NUL byte")
        lines = piece.split(b"\n")
        lengths = [len(line) for line in lines]
        lengths[0] += self._open_bytes
        if max(lengths) > self._most:
            line = self._line + next(i for i, length in enumerate(lengths) if length > self._most) + 1
            raise DataRefused(f"line {line:,} is longer than {self._most:,} bytes")
        self._open_bytes = lengths[-1]
        self._line += len(lines) - 1


def _batches(source: _CheckedText, header: _Header, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    ragged: list[pacsv.InvalidRow] = []

    def note(row: pacsv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    # A row may straddle two blocks, not three.
    block = max(_BLOCK_BYTES, options.limits.max_line_bytes + 1)
    read = pacsv.ReadOptions(column_names=header.names, block_size=block, use_threads=False)
    parse = pacsv.ParseOptions(delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=note)
    types = dict.fromkeys(header.names, pa.string())
    convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=False)
    try:
        reader = pacsv.open_csv(pa.PythonFile(source, mode="r"), read, parse, convert)
        yield from (batch for batch in reader if batch.num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        if source.refusal is not None:
            raise source.refusal from None
        if ragged:
            row = None if ragged[-1].number is None else ragged[-1].number - 1
            found, expected = ragged[-1].actual_columns, ragged[-1].expected_columns
            message = f"it has {found:,} cells; the header has {expected:,}"
            raise DataRefused(message, row=row) from None
        if "Empty CSV file" in str(error):
            return
        raise DataRefused(f"the CSV cannot be read: {error}") from error


def _text_columns(batch: pa.RecordBatch) -> dict[str, str]:
    """Columns of which, so far, fewer than half of the filled cells are numbers.

    In the others a cell of text is a mistake, and is refused with its place.
    """
    text: dict[str, str] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        try:
            pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            present = column.filter(pc.invert(pc.is_in(_folded(column), _ABSENT)))
            is_number = pc.match_substring_regex(present, _NUMBER)
            if (pc.sum(is_number).as_py() or 0) * 2 < len(present):
                example = present.filter(pc.invert(is_number))[0].as_py()
                text[name] = f"text such as {example[:40]!r}"
    return text


def _folded(column: pa.Array) -> pa.Array:
    return pc.utf8_lower(pc.utf8_trim_whitespace(column))


def _cast(column: pa.Array, name: str, first_row: int) -> Array:
    try:
        return numbers(pc.cast(column, pa.float64()))
    except pa.ArrowInvalid:
        pass
    absent = pc.is_in(_folded(column), _ABSENT)
    present = pc.if_else(absent, pa.scalar(None, pa.string()), pc.utf8_trim_whitespace(column))
    try:
        return numbers(pc.cast(present, pa.float64()))
    except pa.ArrowInvalid:
        row = _first_uncastable(present)
        raise DataRefused(
            f"{present[row].as_py()[:80]!r} is not a number", row=first_row + row, column=name
        ) from None


def _first_uncastable(column: pa.Array) -> int:
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            pc.cast(column.slice(low, middle - low), pa.float64())
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low
