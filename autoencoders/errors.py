"""What can go wrong in the science; errors carry facts, never status codes.

AutoencoderError
├── CatalogMistake        a word was defined wrongly (a programmer's error, at import)
├── UnknownWord           no such word in the catalog
├── SpecRefused           a valid spec that cannot be built for this dataset; says where
├── DataRefused           an upload or array that cannot become a dataset; says the place
├── TrainingDiverged      the loss left the finite numbers, or ran away
├── CheckpointDamaged     a training's saved state is not what was written; fall back to the one before
└── BundleDamaged         a model's folder does not hold what its manifest promises
"""

from __future__ import annotations

from collections.abc import Sequence


class AutoencoderError(Exception):
    """Any error of this package."""


class CatalogMistake(AutoencoderError):
    """A word was defined wrongly: no docstring, no annotation, or a name that is taken."""


class UnknownWord(AutoencoderError):
    """The catalog has no such word."""

    def __init__(self, family: str, word: str, known: Sequence[str]) -> None:
        super().__init__(f"{family} has no word {word!r}; it has {', '.join(known)}")
        self.family, self.word, self.known = family, word, tuple(known)


class SpecRefused(AutoencoderError):
    """A spec that reads well but cannot be built for this dataset.

    Args:
        problems: pairs of a field's location, such as `("architecture", "output")`, and what is wrong there.
    """

    def __init__(self, problems: Sequence[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(loc)}: {message}" for loc, message in problems))
        self.problems = tuple(problems)


class DataRefused(AutoencoderError):
    """An upload or array that cannot become a dataset.

    Args:
        message: what is wrong, in words for the person who sent it.
        row: the offending row, counted from 0, if one is known.
        column: the offending column's name or number, if one is known.
    """

    def __init__(self, message: str, *, row: int | None = None, column: str | int | None = None) -> None:
        place = [f"row {row}" if row is not None else "", f"column {column!r}" if column is not None else ""]
        where = ", ".join(part for part in place if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.message, self.row, self.column = message, row, column


class TrainingDiverged(AutoencoderError):
    """The loss left the finite numbers, or ran away from where it began."""

    def __init__(self, reason: str, *, step: int) -> None:
        super().__init__(f"training diverged at step {step}: {reason}")
        self.reason, self.step = reason, step


class CheckpointDamaged(AutoencoderError):
    """A training's saved state is not what was written; the caller falls back to the one before."""


class BundleDamaged(AutoencoderError):
    """A model's folder does not hold what its manifest promises."""
