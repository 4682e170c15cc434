"""How long a forward pass of so many rows takes here, learnt from the passes that were made."""

from __future__ import annotations

_WEIGHT = 0.2
# One pass in whose middle the processor was given to another says little of the next.
_MOST_SLOWER = 2.0
_SIZES = 40


class Pace:
    """Seconds of a pass by its rows, each power of two by itself; nothing known yet is a long pass."""

    __slots__ = ("_per_row",)

    def __init__(self) -> None:
        self._per_row = [0.0] * _SIZES

    def learn(self, rows: int, seconds: float) -> None:
        """One pass of so many rows took so long."""
        size = rows.bit_length()
        known = self._per_row[size]
        here = seconds / rows
        if known:
            here = known + _WEIGHT * (min(here, _MOST_SLOWER * known) - known)
        self._per_row[size] = here

    def seconds(self, rows: int) -> float:
        """What a pass of so many rows will take; from smaller ones, which cost more a row, where none was."""
        for size in range(rows.bit_length(), 0, -1):
            if self._per_row[size]:
                return self._per_row[size] * rows
        return float("inf")
