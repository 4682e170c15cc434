"""CSV in and out: with a header or without, columns by name for tables; errors name row and column."""

from __future__ import annotations

import csv
import io
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from service.serving.codecs import json_rows
from service.serving.codecs.rows import Array, Expected, Reply, Rows, column_of, refuse_other_columns
from service.serving.errors import BadTensor

_SPECIAL = '",\r\n'
_SINGULAR = {
    "codes": "code",
    "outputs": "output",
    "reconstructions": "reconstruction",
    "scores": "score",
    "percentiles": "percentile",
    "per_feature": "share",
}


def read(body: bytes, expected: Expected) -> Array:
    """The rows; a first line that is the columns' names (of a table) or no numbers is a header.

    Raises:
        BadTensor: a cell is no number, or a row has too many or too few; names row and column.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    try:
        first = next(csv.reader(io.StringIO(_first_line(body)), delimiter=_delimiter(body), strict=True), [])
    except csv.Error as error:
        raise BadTensor(f"the first line is no CSV: {error}", field="body") from None
    cells = [cell.strip() for cell in first]
    if not cells:
        raise BadTensor("must hold at least one row")
    order, skipped = _order(cells, expected)
    rows = _plain(body, skipped, expected)
    if rows is not None:
        return rows if order == sorted(order) else rows[:, order]
    return _careful(body, skipped, order, expected)


def _plain(body: bytes, skipped: int, expected: Expected) -> Rows | None:
    """Numbers between separators are JSON once brackets stand around the lines; None if it is more than that.

    pyarrow sets up a reader for each column, which for a few rows of many columns takes longer than the rows.
    """
    lines = (body.partition(b"\n")[2] if skipped else body).strip()
    separator = _delimiter(body).encode()
    if separator != b",":
        lines = b"[" if b"," in lines else lines.replace(separator, b",")
    if any(mark in lines for mark in (b"[", b"]", b"{", b'"')):
        return None
    lists = b"[[" + lines.replace(b"\r\n", b"\n").replace(b"\n", b"],[") + b"]]"
    return json_rows.read_lists(lists, expected)


def _careful(body: bytes, skipped: int, order: list[int], expected: Expected) -> Array:
    """Whatever CSV may be: quotes, empty lines, numbers that only CSV knows."""
    names = [str(position) for position in range(expected.width)]
    refusal = None
    try:
        table = pacsv.read_csv(
            pa.BufferReader(body),
            pacsv.ReadOptions(column_names=names, skip_rows=skipped, use_threads=False),
            pacsv.ParseOptions(delimiter=_delimiter(body)),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.float32()), null_values=[]),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        refusal = str(error)
    if refusal is not None:
        if "Empty CSV file" in refusal:
            raise BadTensor("must hold at least one row")
        _find_bad(body, skipped, order, expected)
        raise BadTensor(f"the body cannot be read as CSV: {refusal[:200]}", field="body")
    if table.num_rows == 0:
        raise BadTensor("must hold at least one row")
    block = np.empty((table.num_rows, expected.width), np.float32)
    for position, source in enumerate(order):
        block[:, position] = table.column(source).to_numpy()
    return block


def write(reply: Reply) -> bytes:
    """Everything about the rows under a header line; numbers in float32's shortest form."""
    columns: dict[str, pa.Array] = {}
    _spread(columns, reply.name, reply.values, reply.columns)
    for name, values in reply.per_row.items():
        shares = reply.beside.get("columns") if name == "per_feature" else None
        _spread(columns, name, values, None if shares is None else tuple(f"share_{part}" for part in shares))
    quoting = "needed" if any(mark in name for name in columns for mark in _SPECIAL) else "none"
    sink = pa.BufferOutputStream()
    pacsv.write_csv(pa.table(columns), sink, pacsv.WriteOptions(quoting_header=quoting))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _spread(columns: dict[str, pa.Array], name: str, values: Array, names: tuple[str, ...] | None) -> None:
    stem = _SINGULAR.get(name, name)
    if values.ndim == 1:
        columns[stem] = pa.array(values)
        return
    flat = values.reshape(len(values), -1)
    named = names or tuple(f"{stem}_{position}" for position in range(flat.shape[1]))
    columns.update(zip(named, map(pa.array, flat.T), strict=True))


def _first_line(body: bytes) -> str:
    end = body.find(b"\n")
    return _text(body if end < 0 else body[:end]).rstrip("\r")


def _text(part: bytes) -> str:
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadTensor(f"the text is not UTF-8: byte {part[error.start]:#04x}", field="body") from None


def _delimiter(body: bytes) -> str:
    line = _first_line(body)
    return max((",", ";", "\t"), key=line.count)


def _order(cells: list[str], expected: Expected) -> tuple[list[int], int]:
    """Where each of the model's numbers stands in a line, and how many lines come before the rows."""
    plain = list(range(expected.width))
    if expected.columns is not None and set(cells) & set(expected.columns):
        # The columns' own names may be numbers; a line with any of them is a header unless all are numbers
        # and it is not exactly the names.
        if tuple(cells) == expected.columns:
            return plain, 1
        if not all(map(_is_number, cells)) or set(cells) == set(expected.columns):
            refuse_other_columns(cells, expected)
            return [cells.index(column) for column in expected.columns], 1
    if any(map(_is_number, cells)) or not any(cells):
        return plain, 0
    if expected.columns is not None:
        refuse_other_columns(cells, expected)
    if len(cells) != expected.width:
        raise BadTensor(f"the header has {len(cells)} columns; {expected.what} have {expected.width} numbers")
    return plain, 1


def _find_bad(body: bytes, skipped: int, order: list[int], expected: Expected) -> None:
    """Name the first cell that is no number, or the first row of another length."""
    places = {source: position for position, source in enumerate(order)}
    lines = csv.reader(io.StringIO(_text(body), newline=""), delimiter=_delimiter(body))
    try:
        for row, cells in enumerate(islice((line for line in lines if line), skipped, None)):
            for source, cell in enumerate(cells[: expected.width]):
                if not _is_number(cell):
                    what = f"{cell[:40]!r} is not a number" if cell.strip() else "the cell is empty"
                    raise BadTensor(what, row=row, column=column_of(expected, places[source]))
            if len(cells) != expected.width:
                raise BadTensor(f"has {len(cells)} numbers; {expected.what} have {expected.width}", row=row)
    except csv.Error as error:
        raise BadTensor(f"line {lines.line_num} is no CSV: {error}", field="body") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
