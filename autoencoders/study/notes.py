"""What whoever reads the figures of a study should bear in mind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoencoders.study.standings import Standing

BY_TIME = (
    "A budget in seconds does not repeat exactly: how many steps fit depends on the machine and its load."
)
BY_EPOCHS = "A pretraining's passes over the rows count as epochs of its cell's budget."
ONE_SEED = "One seed: there are no intervals, and no tie can be told; give several `seeds` for both."
COARSE = "Intervals over so few seeds are coarse: they hardly reach beyond the least and the largest error."
ONE_RATE = "Every cell ran at the rate in its spec, which may suit one cell better than another."
TRIED = "The steps by which inits or learning rates were chosen are not counted in a budget of epochs."
RACED = (
    "Cells that were raced out are judged by their error at that rung, not by what they might have reached."
)
NO_PCA = "PCA's error is not known for rows as wide as these: the best cell's stands in for it."
ALL_FAILED = "Every training of this study failed."


def notes(
    plan: Mapping[str, Any], cells: Sequence[Standing], *, own_floor: bool, all_failed: bool
) -> list[str]:
    """The notes on one study's figures.

    Args:
        plan: its plan.
        cells: what they showed.
        own_floor: whether the best cell's error stands in for PCA's.
        all_failed: whether no training came to an end.
    """
    seeds, by_time = len(plan["seeds"]), "seconds" in plan["budget"]
    fixed = plan["learning_rate"] == "fixed"
    cancelled = sum(
        outcome["state"] == "cancelled" and not outcome["raced_out"]
        for standing in cells
        for outcome in standing.outcomes
    )
    chosen = any(outcome.get("chosen") for standing in cells for outcome in standing.outcomes)
    skipped = len(plan["skipped"])
    told = (
        (all_failed, ALL_FAILED),
        (seeds == 1, ONE_SEED),
        (1 < seeds < 5, COARSE),
        (by_time, BY_TIME),
        (not by_time and any(standing.pretraining for standing in cells), BY_EPOCHS),
        (fixed and len(cells) > 1, ONE_RATE),
        (not by_time and (not fixed or chosen), TRIED),
        (len(plan["rungs"]) > 1, RACED),
        (
            cancelled,
            f"{cancelled} trainings were cancelled and count for nothing: their cells have fewer seeds.",
        ),
        (skipped, f"{skipped} cells of the grid cannot be built and were left out."),
        (own_floor, NO_PCA),
    )
    return [words for applies, words in told if applies]
