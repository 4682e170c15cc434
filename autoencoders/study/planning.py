"""From a study's request to its cells: each a whole job, with equal budgets, refused where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from autoencoders.data.manifest import Facts
from autoencoders.errors import SpecRefused
from autoencoders.spec import Spec, TrainingPart
from autoencoders.study import rungs as ladder
from autoencoders.study.faults import Fault, Faults
from autoencoders.study.grid import Axis, Document, combinations, normalised, placed, read_axes, untagged
from autoencoders.study.presets import PRESETS, expand
from autoencoders.study.pretraining import passes_of

LearningRate: TypeAlias = Literal["fixed", "trial", "range_test"]
MOST_JOBS = 1000
MOST_SEEDS = 100
ENDLESS = 1_000_000
"""Epochs of a training that ends by its time."""


@dataclass(frozen=True)
class Cell:
    """One cell of a study.

    Attributes:
        cell: `{path: value}` as submitted.
        job: the whole body of its job, every default written out; the seed is the study's first.
        pretraining: how many passes over the training rows its init makes.
        pauses: after how many epochs of training it waits at each rung; None at the last, and by time.
    """

    cell: Document
    job: Document
    pretraining: float
    pauses: tuple[int | None, ...]


@dataclass(frozen=True)
class Plan:
    """All cells of a study and how long each may take; made once, when the study is submitted.

    Attributes:
        cells: those that run, in the grid's order, the last path varying fastest.
        skipped: `{"cell", "why"}` of those that cannot be built.
        grid: path to values, a preset written out.
        seeds: each cell is trained from each of them.
        budget: `{"epochs": n}`, a pretraining's passes over the rows counted, or `{"seconds": s}`, the time
            of the initialisation counted.
        learning_rate: how each cell gets its own.
        racing: whether losers are stopped at rungs.
        rungs: `{"epochs", "seconds", "keep"}`; see `autoencoders.study.rungs`.
    """

    cells: tuple[Cell, ...]
    skipped: tuple[Document, ...]
    grid: dict[str, list[Any]]
    seeds: tuple[int, ...]
    budget: dict[str, float]
    learning_rate: LearningRate
    racing: bool
    rungs: tuple[Document, ...]

    def document(self) -> Document:
        """The plan as JSON, from which alone a study is run and its report made."""
        plain = asdict(self)
        for cell in plain["cells"]:
            cell["pauses"] = list(cell["pauses"])
        for name in ("cells", "skipped", "seeds", "rungs"):
            plain[name] = list(plain[name])
        return plain


def plan(
    base: Mapping[str, Any],
    *,
    facts: Facts,
    grid: Mapping[str, Sequence[Any]] | None = None,
    preset: str | None = None,
    seeds: Sequence[int] = (0,),
    budget: Mapping[str, float] | None = None,
    learning_rate: LearningRate = "fixed",
    racing: bool = False,
    unfit: Literal["refuse", "skip"] = "refuse",
    settle: Callable[[Document], Document] | None = None,
) -> Plan:
    """The cells of a study over one dataset.

    Args:
        base: the body of a job. What is no field of a spec in it goes into every cell's job unread. By
            itself it need not be whole: the grid may bring what it lacks.
        facts: of the dataset.
        grid: path to values.
        preset: the name of a ready grid in its place, whose unfit cells are always left out.
        seeds: distinct.
        budget: `{"epochs": n}` or `{"seconds": s}`, equal for every cell; unset: the base's epochs.
        learning_rate: how each cell gets its own.
        racing: whether losers are stopped at rungs.
        unfit: what becomes of cells that cannot be built.
        settle: what else becomes of each cell's job before it is taken, such as exact versions of earlier
            models; may raise SpecRefused with places in the job.

    Raises:
        SpecRefused: located at `("grid", path, place of the value, ...)`, `("base", ...)`, `("seeds",)`,
            `("budget",)` or `("preset",)`.
    """
    _check_request(grid, preset, seeds, budget)
    epochs = _epochs_wanted(base, budget)
    seconds = None if budget is None else budget.get("seconds")
    if preset is not None:
        document, grid = expand(preset, base, facts, epochs if seconds is None else None)
        unfit = "skip"
    else:
        document = normalised(base)
    assert grid is not None, "there is one of the two"
    axes = read_axes(grid)
    count = math.prod(len(axis.values) for axis in axes)
    if count * len(seeds) > MOST_JOBS:
        message = f"{count} cells with {len(seeds)} seeds are more than {MOST_JOBS:,} jobs"
        raise SpecRefused([(("grid",), message)])
    maker = _Maker(document, axes, facts, epochs=epochs, seconds=seconds, seed=seeds[0], settle=settle)
    made, faults = maker.cells()
    if faults and (unfit == "refuse" or not made or faults.unknown_paths()):
        raise SpecRefused(faults.problems())
    steps = ladder.rungs(
        cells=len(made), epochs=epochs if seconds is None else None, seconds=seconds, racing=racing
    )
    return Plan(
        cells=tuple(
            Cell(cell, job, pretraining, tuple(ladder.pauses(steps, pretraining)))
            for cell, job, pretraining in made
        ),
        skipped=tuple(faults.skipped()),
        grid={axis.path: list(axis.values) for axis in axes},
        seeds=tuple(seeds),
        budget={"epochs": epochs} if seconds is None else {"seconds": seconds},
        learning_rate=learning_rate,
        racing=racing,
        rungs=tuple(steps),
    )


def _check_request(
    grid: object, preset: str | None, seeds: Sequence[int], budget: Mapping[str, float] | None
) -> None:
    problems: list[tuple[tuple[str, ...], str]] = []
    if (grid is None) == (preset is None):
        problems.append((("grid",), "give a grid or the name of a preset, one of the two"))
    if preset is not None and preset not in PRESETS:
        problems.append((("preset",), f"there is no preset {preset!r}; there are {', '.join(PRESETS)}"))
    if not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        problems.append((("seeds",), f"need to be 1 to {MOST_SEEDS} different numbers from 0 on"))
    if budget is not None:
        fits = len(budget) == 1 and budget.keys() <= {"epochs", "seconds"}
        if not fits or not all(math.isfinite(much) and much > 0 for much in budget.values()):
            problems.append((("budget",), "is {'epochs': n} or {'seconds': s}, above 0"))
        elif "epochs" in budget and budget["epochs"] != int(budget["epochs"]):
            problems.append((("budget", "epochs"), "are whole"))
    if problems:
        raise SpecRefused(problems)


def _epochs_wanted(base: Mapping[str, Any], budget: Mapping[str, float] | None) -> int:
    """The budget's epochs; or else the base's, or a spec's usual ones."""
    if budget is not None and "epochs" in budget:
        return int(budget["epochs"])
    training = base.get("training")
    usual = TrainingPart()
    if not isinstance(training, Mapping) or "epochs" not in training:
        return usual.epochs
    try:
        return TrainingPart.model_validate({"epochs": training["epochs"]}).epochs
    except ValidationError:
        return usual.epochs  # every cell will be refused at the base's


class _Maker:
    """Makes every cell of one study, or says what is wrong with it."""

    def __init__(
        self,
        document: Document,
        axes: Sequence[Axis],
        facts: Facts,
        *,
        epochs: int,
        seconds: float | None,
        seed: int,
        settle: Callable[[Document], Document] | None,
    ) -> None:
        self._axes, self._facts, self._settle = axes, facts, settle
        self._epochs, self._seconds, self._seed = epochs, seconds, seed
        known = Spec.model_fields
        self._described = {key: value for key, value in document.items() if key in known}
        # Whatever is no field of a spec is a word for somebody else.
        self._carried = {key: value for key, value in document.items() if key not in known}

    def cells(self) -> tuple[list[tuple[Document, Document, float]], Faults]:
        """Those that can be built, as (cell, job, pretraining), and what is wrong with the others."""
        made: list[tuple[Document, Document, float]] = []
        faults = Faults(self._axes)
        for places, cell in combinations(self._axes):
            found = self._one(places)
            if isinstance(found, tuple):
                made.append((cell, *found))
            else:
                faults.add(places, cell, found)
        return made, faults

    def _one(self, places: Sequence[int]) -> tuple[Document, float] | list[Fault]:
        try:
            document = placed(self._described, self._axes, places)
        except SpecRefused as refusal:
            return [Fault(tuple(place), message, located=True) for place, message in refusal.problems]
        try:
            spec = Spec.model_validate(document).resolve(self._facts)
            spec.check(self._facts)
        except ValidationError as error:
            return list(_read_faults(error, document))
        except SpecRefused as refusal:
            return [Fault(tuple(place), message) for place, message in refusal.problems]
        pretraining = passes_of(spec, self._facts)
        left = self._epochs - math.ceil(pretraining) if self._seconds is None else ENDLESS
        if left < 1:
            message = f"its pretraining takes {pretraining:g} of the {self._epochs} epochs and leaves none"
            return [Fault(("init",), message)]
        limits = {"epochs": left, "seed": self._seed}
        if self._seconds is not None:
            limits["max_seconds"] = None  # type: ignore[assignment]  # the study's own budget ends it
        training = spec.training.model_copy(update=limits)
        whole = spec.model_copy(update={"training": training}).model_dump(mode="json")
        job = {**self._carried, **whole}
        try:
            return (job if self._settle is None else self._settle(job)), pretraining
        except SpecRefused as refusal:
            return [Fault(tuple(place), message) for place, message in refusal.problems]


def _read_faults(error: ValidationError, document: Document) -> Iterable[Fault]:
    for item in error.errors():
        message = str(item["msg"]).removeprefix("Value error, ")
        yield Fault(untagged(item["loc"], document), message, unknown=item["type"] == "extra_forbidden")
