"""What can go wrong between a request's bytes and a model's answer."""

from __future__ import annotations

from service.errors import ServiceError


class ServingError(ServiceError):
    """Any error of serving a model."""


class Overloaded(ServingError):
    """More rows are waiting for the device than it may queue."""


class DeadlinePassed(ServingError):
    """The answer was not there when the request's own timeout ran out."""


class ClientGone(ServingError):
    """Whoever asked has left: nobody reads an answer."""


class BadTensor(ServingError):
    """Rows that the model cannot take.

    Args:
        message: what is wrong, in words for the person who sent it.
        row: the offending row, counted from 0, if one is known.
        column: the offending column's number or name, if one is known.
        field: the field of a JSON body where the rows stand.
    """

    def __init__(
        self,
        message: str,
        *,
        row: int | None = None,
        column: int | str | None = None,
        field: str = "inputs",
    ) -> None:
        place = [f"row {row}" if row is not None else "", f"column {column!r}" if column is not None else ""]
        where = ", ".join(part for part in place if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.message, self.row, self.column, self.field = message, row, column, field


class UnknownFormat(ServingError):
    """A body that no codec reads."""


class NotAcceptable(ServingError):
    """An `Accept` that no codec writes."""
