"""What to use, in two sentences and as a job ready to submit."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoencoders.diagnostics.outlook import word_of
from autoencoders.study.ranking import LOST, seen_outlook, stuck
from autoencoders.study.standings import Standing
from autoencoders.study.wording import words

LISTED = 3


def recommended(best: Standing, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a job that trains the best cell as its best seed was; `best` has a finite error."""
    outcome = best.best
    assert outcome is not None, "the best cell has a finite error"
    body = copy.deepcopy(best.job)
    body["training"]["seed"] = outcome["seed"]
    if outcome.get("chosen") is not None:
        body["init"] = outcome["chosen"]
        pretraining = math.ceil(best.pretraining_of(outcome))
        body["training"]["epochs"] = max(1, body["training"]["epochs"] - pretraining)
    if outcome.get("learning_rate") is not None:
        body["optimizer"]["learning_rate"] = outcome["learning_rate"]
    if "seconds" in plan["budget"]:
        reached = max((mark["epoch"] for mark in outcome["curve"]), default=0)
        body["training"]["epochs"] = max(1, reached)
    return body


def advice(
    ranked: Sequence[Standing],
    ties: Mapping[int, Sequence[int]],
    intervals: Mapping[int, tuple[float, float]],
    *,
    complete: bool,
    floor: float | None,
) -> str:
    """Two sentences: what to use, or that nothing learned, and how much hangs on it."""
    best = ranked[0]
    if best.finite:
        what = _what(_begin(ranked, complete, floor), ranked, ties, intervals)
        return f"{what} {_how_much(ranked, ties, complete, floor)}"
    if not complete:
        return "No training has shown an error yet. Come back when the first epochs are over."
    diverged = any(seen_outlook(standing, None) == "diverges" for standing in ranked)
    cure = ": try a smaller learning rate first" if diverged else ""
    return f"No cell has a result to recommend. The ranking says why{cure}."


def _begin(ranked: Sequence[Standing], complete: bool, floor: float | None) -> str:
    if not complete:
        return "So far best is"
    if _learned(ranked[0], floor):
        return "Use"
    return "Nothing here learned: the best is" if _none_learned(ranked, floor) else "The best did not learn:"


def _learned(standing: Standing, floor: float | None) -> bool:
    closed = standing.closed(floor)
    return closed is None or word_of(closed) not in LOST


def _none_learned(ranked: Sequence[Standing], floor: float | None) -> bool:
    return not any(_learned(standing, floor) for standing in ranked if standing.finite)


def _what(
    begin: str,
    ranked: Sequence[Standing],
    ties: Mapping[int, Sequence[int]],
    intervals: Mapping[int, tuple[float, float]],
) -> str:
    best = ranked[0]
    error = best.shown
    shown = f"{error:.4g}"
    if best.place in intervals:
        low, high = intervals[best.place]
        shown += f" ({low:.4g} to {high:.4g} over {len(best.errors)} seeds)"
    said = f"{begin} {words(best.cell)}: its held-out error is {shown}{_beside(best, error)}"
    equals = [standing for standing in ranked if standing.place in ties.get(best.place, ())]
    if equals:
        names = " and ".join(words(standing.cell) for standing in equals[:LISTED])
        rest = f" and {len(equals) - LISTED} more" if len(equals) > LISTED else ""
        said += f"; {names}{rest} {'is' if len(equals) == 1 else 'are'} tied with it"
    return said + "."


def _beside(best: Standing, error: float) -> str:
    pca, mean = best.baselines.get("pca"), best.baselines.get("mean")
    known = [
        (f"{value:.4g} for {name}") for name, value in (("PCA", pca), ("the mean", mean)) if value is not None
    ]
    return f", beside {' and '.join(known)}" if known and math.isfinite(error) else ""


def _how_much(
    ranked: Sequence[Standing], ties: Mapping[int, Sequence[int]], complete: bool, floor: float | None
) -> str:
    if not complete:
        over = sum(standing.over for standing in ranked)
        return f"The study still runs: {over} of {len(ranked)} cells are over, and this may change."
    judged = [standing for standing in ranked if standing.errors]
    if _none_learned(ranked, floor):
        cure = ": nothing that was varied is a cure for that"
        early = any(standing.raced_out for standing in ranked)
        return f"No cell has left the plateau{' by the time it was stopped' if early else cure}."
    lost = _lost(judged, floor)
    if lost:
        parts = [f"{len(some)} of {len(ranked)} cells {did} ({_few(some)})" for did, some in lost.items()]
        return f"The choice matters on these rows: {' and '.join(parts)}."
    if len(judged) == 1:
        return "No other cell has an error to compare with."
    if len(ties.get(ranked[0].place, ())) == len(judged) - 1:
        return "What was varied hardly matters on these rows: all cells are tied."
    return _spread(judged)


def _lost(ranked: Sequence[Standing], floor: float | None) -> dict[str, list[Standing]]:
    """Cells that did not learn, by what became of them; each once."""
    found: dict[str, list[Standing]] = {}
    for standing in ranked:
        flat = stuck(standing, floor)
        if standing.failed:
            found.setdefault("had trainings that failed", []).append(standing)
        elif flat is not None and flat["outlook"] == "diverges":
            found.setdefault("ended above the mean's error", []).append(standing)
        elif flat is not None:
            found.setdefault("had not left the plateau when they ended", []).append(standing)
    return found


def _few(group: Sequence[Standing]) -> str:
    return "; ".join([*(words(one.cell) for one in group[-LISTED:]), *(["…"] if len(group) > LISTED else [])])


def _spread(ranked: Sequence[Standing]) -> str:
    last = ranked[-1]
    ratio = last.shown / max(ranked[0].shown, 1e-300)
    stopped = ", stopped early," if last.raced_out else ""
    axis = _heaviest(ranked)
    matters = f", and most hangs on {axis}" if axis is not None else ""
    return f"The last cell, {words(last.cell)},{stopped} has {ratio:.3g} times its error{matters}."


def _heaviest(ranked: Sequence[Standing]) -> str | None:
    """The path whose choice alone changes the error by the largest factor, on average over all else.

    None where cells were raced out: errors of different rungs also tell how long each cell was trained.
    """
    paths = list(ranked[0].cell)
    if len(paths) < 2 or any(standing.raced_out for standing in ranked):
        return None
    return max(paths, key=lambda path: _effect(ranked, path))


def _effect(ranked: Sequence[Standing], path: str) -> float:
    groups: dict[str, list[float]] = {}
    for standing in ranked:
        rest = repr([(key, value) for key, value in standing.cell.items() if key != path])
        groups.setdefault(rest, []).append(math.log(max(standing.shown, 1e-300)))
    return math.fsum(max(logs) - min(logs) for logs in groups.values()) / len(groups)
