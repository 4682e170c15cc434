"""Which rows are held out: a property of the dataset, so that errors compare across seeds, jobs and versions.

Each choice is a pure function of the holdout and of what it looks at, and leaves at least one row on either
side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from autoencoders.data.arrays import Array, stream
from autoencoders.data.options import After, Fraction, Group
from autoencoders.errors import DataRefused

Mask = npt.NDArray[np.bool_]
_STRETCH = 2**20


def held_out_by_fraction(rows: int, holdout: Fraction) -> Mask:
    """Exactly round(fraction * rows) rows (at least one, never all), each equally likely.

    Rows are drawn stretch by stretch (how many fall into one is hypergeometric), so that memory stays one
    byte a row.
    """
    draws = stream(holdout.seed, "holdout")
    left = min(max(1, round(holdout.fraction * rows)), rows - 1)
    mask = np.zeros(rows, dtype=np.bool_)
    for start in range(0, rows, _STRETCH):
        length = min(_STRETCH, rows - start)
        here = int(draws.hypergeometric(left, rows - start - left, length))
        mask[start + draws.choice(length, size=here, replace=False, shuffle=False)] = True
        left -= here
    return mask


def held_out_by_group(codes: Array, groups: Sequence[str], holdout: Group) -> Mask:
    """Whole groups, in an order hashed from (seed, name), until they hold the fraction of the rows.

    The order does not depend on which other groups there are: a group stays held out when rows are added.

    Args:
        codes: per row, the position of its group in `groups`.
        groups: the groups' names.
        holdout: the column, the fraction and the seed.
    """
    if len(groups) < 2:
        raise DataRefused(
            f"a split by group needs at least two groups; there is {len(groups)}", column=holdout.group
        )
    counts = np.bincount(codes, minlength=len(groups))
    order = sorted(
        range(len(groups)),
        key=lambda code: hashlib.sha256(f"{holdout.seed}\x1f{groups[code]}".encode()).digest(),
    )
    wanted, held, chosen = holdout.fraction * len(codes), 0, np.zeros(len(groups), dtype=np.bool_)
    for code in order[:-1]:
        if held >= wanted:
            break
        chosen[code] = True
        held += int(counts[code])
    mask: Mask = chosen[codes]
    return mask


def held_out_after(times: Array, moments: bool, column: str, holdout: After) -> Mask:
    """The rows whose time is strictly later.

    Args:
        times: per row, numbers, or microseconds since 1970 in UTC.
        moments: whether they are microseconds, so that `after` is a moment too.
        column: the time column's name, for messages.
        holdout: the bound.
    """
    bound = _microseconds(holdout.after, column) if moments else _number(holdout.after, column)
    mask: Mask = np.asarray(times > bound)
    held = int(np.count_nonzero(mask))
    if held in (0, len(mask)):
        which = "no row is" if held == 0 else "every row is"
        raise DataRefused(f"{which} later than {holdout.after!r}: nothing can be held out", column=column)
    return mask


def _number(value: float | str, column: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DataRefused(f"times are numbers here, so `after` cannot be {value!r}", column=column) from None


def _microseconds(value: float | str, column: str) -> float:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise DataRefused(
            f"`after` must be an ISO 8601 date or moment, not {value!r}", column=column
        ) from None
    return microseconds(moment)


def microseconds(moment: datetime) -> float:
    """Microseconds since 1970 in UTC; what has no zone is taken as UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6
