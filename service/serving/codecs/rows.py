"""What every format carries: rows, what a model expects of them, questions and replies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from autoencoders.data.manifest import image_shape
from service.serving.errors import BadTensor

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Expected:
    """What rows a model takes.

    Attributes:
        width: numbers a row.
        shape: of one row; `width` is its product.
        columns: their names, where the model knows a table.
        what: they are called in messages.
        white: what a white pixel is in the dataset's units; None where no picture can be a row.
    """

    width: int
    shape: tuple[int, ...]
    columns: tuple[str, ...] | None = None
    what: str = "the model's rows"
    white: float | None = None


@dataclass(slots=True)
class Question:
    """A decoded request: its rows, whether they came flat, and what a JSON body said beside them."""

    rows: Rows
    flat: bool = True
    encoding: Literal["base64"] | None = None
    per_feature: bool = False


@dataclass(slots=True)
class Reply:
    """What an answer is made of.

    Attributes:
        name: of the main array.
        values: the main array, [n, …].
        beside: what stands beside it: arrays [n, …] by name, `columns` of a table, and `model` with name,
            version and space.
        columns: the names of the values' columns, where they are a table's rows.
        white: what a white pixel is in the values' units, where they are pictures.
        lists: the values in JSON, where they were written before all of them were there.
    """

    name: str
    values: Array
    beside: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    white: float | None = None
    lists: bytes | None = None

    @property
    def per_row(self) -> dict[str, Array]:
        """The arrays beside the main one, a line for each row."""
        return {name: value for name, value in self.beside.items() if isinstance(value, np.ndarray)}


def white_of(shape: tuple[int, ...], dtype: str, minimum: float, maximum: float) -> float | None:
    """What a white pixel (255) is in the units of a dataset of images.

    Bytes are what they are, and floats within 0 and 1 are taken for parts of white; other floats have no
    unit that a picture could be said in.
    """
    if image_shape(shape) is None:
        return None
    if dtype == "uint8":
        return 255.0
    return 1.0 if minimum >= 0 and 0 < maximum <= 1 else None


def fit(array: Array, expected: Expected) -> Rows:
    """Rows of the model's width as float32; a row may come flat or in the model's own shape.

    Raises:
        BadTensor: they have another shape, or there are none.
    """
    if array.ndim < 2:
        raise BadTensor(f"must be rows, [n, {expected.width}]; one row is [[…]]")
    if array.shape[0] == 0:
        raise BadTensor("must hold at least one row")
    given = array.shape[1:]
    if given not in ((expected.width,), expected.shape):
        raise BadTensor(
            f"has {_numbers(given)}; {expected.what} have {_numbers(expected.shape)}"
            + (f" or {expected.width} numbers" if len(expected.shape) > 1 else ""),
            row=0,
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array.reshape(array.shape[0], expected.width), dtype=np.float32)


def finite(rows: Rows, expected: Expected) -> Rows:
    """The rows, unless one holds NaN or an infinity, be it that only float32 made it of a number.

    Raises:
        BadTensor: names the first of them.
    """
    sound = np.isfinite(rows)
    if sound.all():
        return rows
    row, position = divmod(int(np.argmin(sound)), expected.width)
    raise BadTensor("is not a finite float32 number", row=row, column=column_of(expected, position))


def column_of(expected: Expected, position: int) -> int | str:
    """How a message calls the column at a position: by its name where it has one."""
    columns = expected.columns
    return columns[position] if columns is not None and position < len(columns) else position


def refuse_other_columns(names: list[str], expected: Expected, row: int | None = None) -> None:
    """Refuse a table whose columns are not the model's, in whatever order.

    Raises:
        BadTensor: names the column that is missing, doubled or unknown.
    """
    known = expected.columns or ()
    for column in known:
        if column not in names:
            raise BadTensor("the column is missing", row=row, column=column)
    for position, column in enumerate(names):
        if column not in known:
            raise BadTensor("the model was not trained on this column", row=row, column=column)
        if column in names[:position]:
            raise BadTensor("the column stands there twice", row=row, column=column)


def _numbers(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else f"the shape {list(shape)}"
