"""What is wrong with the cells of a grid, told once, at the value that is to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoencoders.study.grid import Axis, Document, Location
from autoencoders.study.wording import words

MOST = 20
"""How many problems are told at once."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with one cell.

    Attributes:
        place: of the field in the cell's spec; or in the request, where it is `located` already.
        message: what is wrong there.
        unknown: whether it is that there is no such field.
        located: whether the place is the request's.
    """

    place: Location
    message: str
    unknown: bool = False
    located: bool = False


@dataclass(frozen=True)
class _Unfit:
    places: tuple[int, ...]
    cell: Document
    faults: tuple[Fault, ...]


class Faults:
    """The cells that cannot be built, and why.

    Args:
        axes: of the grid.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self._axes = axes
        self._unfit: list[_Unfit] = []

    def __bool__(self) -> bool:
        return bool(self._unfit)

    def add(self, places: Sequence[int], cell: Document, faults: Sequence[Fault]) -> None:
        """Note a cell that cannot be built; `places` are those of its values on the axes."""
        self._unfit.append(_Unfit(tuple(places), cell, tuple(faults)))

    def skipped(self) -> Iterator[Document]:
        """Each of these cells as `{"cell", "why"}`."""
        for unfit in self._unfit:
            whys = (f"{'.'.join(fault.place)}: {fault.message}" for fault in unfit.faults)
            yield {"cell": unfit.cell, "why": "; ".join(dict.fromkeys(whys))}

    def unknown_paths(self) -> list[str]:
        """The paths of the grid that no cell has a field for."""
        return [axis.path for number, axis in enumerate(self._axes) if self._leads_nowhere(number)]

    def _leads_nowhere(self, number: int) -> bool:
        axis = self._axes[number]
        seen = {unfit.places[number] for unfit in self._unfit if _unknown(unfit, axis)}
        return len(seen) == len(axis.values) and all(_unknown(unfit, axis) for unfit in self._unfit)

    def problems(self) -> list[tuple[Location, str]]:
        """Where in the request what is wrong; the message names the cell, the first of those alike."""
        nowhere = self.unknown_paths()
        if nowhere:
            return [(("grid", path), "leads to no field of any cell's spec") for path in nowhere]
        told: dict[tuple[Location, str], str] = {}
        for unfit in self._unfit:
            for fault in unfit.faults:
                place = fault.place if fault.located else self._blamed(unfit, fault)
                told.setdefault((place, fault.message), words(unfit.cell))
        problems = [(place, f"{message} (cell {cell})") for (place, message), cell in told.items()]
        rest = len(problems) - MOST
        return problems[:MOST] + ([(("grid",), f"and {rest} more problems")] if rest > 0 else [])

    def _blamed(self, unfit: _Unfit, fault: Fault) -> Location:
        """The value that put the field there; or that without which there is no such problem; or the base."""
        for axis, place in zip(self._axes, unfit.places, strict=True):
            if fault.place[: len(axis.steps)] == axis.steps:
                return ("grid", axis.path, str(place), *fault.place[len(axis.steps) :])
        alike = [other.places for other in self._unfit if fault in other.faults]
        for number, (axis, place) in enumerate(zip(self._axes, unfit.places, strict=True)):
            if len({places[number] for places in alike}) < len(axis.values):
                return ("grid", axis.path, str(place))
        return ("base", *fault.place)


def _unknown(unfit: _Unfit, axis: Axis) -> bool:
    """Whether the cell's spec ends before the path does."""
    ends = (axis.steps[: len(fault.place)] == fault.place for fault in unfit.faults if fault.unknown)
    return any(ends)
