"""What whoever reads the figures of a study should bear in mind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from autoencoders.study.predictors import FEWEST
from autoencoders.study.standings import Standing

BY_TIME = (
    "A budget in seconds does not repeat exactly: how many steps fit depends on the machine and its load."
)
BY_EPOCHS = "A pretraining's passes over the rows count as epochs of its cell's budget."
ONE_SEED = "One seed: there are no intervals, and no tie can be told; give several `seeds` for both."
COARSE = (
    "Intervals over {seeds} seeds never reach beyond the least and the largest error, and so hold the true "
    "mean {held} of the time rather than 95%: what is no tie here may be one with more seeds."
)
HELD = {2: "about half", 3: "about three quarters", **dict.fromkeys(range(4, 10), "80 to 90%")}
"""By the number of seeds: how often an interval holds the mean of a normal law."""
ONE_RATE = "Every cell ran at the rate in its spec, which may suit one cell better than another."
TRIED = "The steps by which inits or learning rates were chosen are not counted in a budget of epochs."
UNTIMED = "`seconds` are without the search for an init or a learning rate."
LIMITED = (
    "A cell that the base's `max_seconds` ends has had less than its budget, and does not repeat exactly."
)
CHANCE = (
    "Of a dozen figures that tell nothing the best one still correlates by about {:.2g} with so many cells."
)
OF_A_DOZEN = 1.9
"""The median of the largest of twelve normal figures, without their signs."""
RACED = (
    "Cells that were raced out are judged by their error at that rung, not by what they might have reached."
)
NO_PCA = "PCA's error is not known for rows as wide as these: the best cell's stands in for it."
ALL_FAILED = "Every training of this study failed."


def notes(plan: Mapping[str, Any], cells: Sequence[Standing], *, own_floor: bool) -> list[str]:
    """The notes on one study's figures.

    Args:
        plan: its plan.
        cells: what they showed.
        own_floor: whether the best cell's error stands in for PCA's.
    """
    seeds, by_time = len(plan["seeds"]), "seconds" in plan["budget"]
    fixed = plan["learning_rate"] == "fixed"
    outcomes = [outcome for standing in cells for outcome in standing.outcomes]
    all_failed = bool(outcomes) and all(outcome["state"] == "failed" for outcome in outcomes)
    cancelled = sum(outcome["state"] == "cancelled" and not outcome["raced_out"] for outcome in outcomes)
    chosen = [outcome["chosen"] for outcome in outcomes if outcome.get("chosen")]
    tried = bool(chosen) or not fixed
    judged = sum(bool(standing.errors and standing.diagnoses) for standing in cells)
    skipped = len(plan["skipped"])
    told = (
        (all_failed, ALL_FAILED),
        (seeds == 1, ONE_SEED),
        (seeds in HELD, COARSE.format(seeds=seeds, held=HELD.get(seeds))),
        (by_time, BY_TIME),
        (not by_time and any(standing.pretraining for standing in cells), BY_EPOCHS),
        (fixed and len(cells) > 1, ONE_RATE),
        (not by_time and tried, TRIED),
        (tried, UNTIMED),
        (any(standing.job["training"]["max_seconds"] for standing in cells), LIMITED),
        (judged >= FEWEST, CHANCE.format(OF_A_DOZEN / math.sqrt(max(judged - 1, 1)))),
        (len(plan["rungs"]) > 1, RACED),
        (
            cancelled,
            f"{_were(cancelled, 'training')} cancelled, for which there are fewer seeds in the figures.",
        ),
        (skipped, f"{_were(skipped, 'cell')} left out of the grid: `skipped` says what cannot be built."),
        (own_floor, NO_PCA),
    )
    return [words for applies, words in told if applies]


def _were(count: int, what: str) -> str:
    return f"{count} {what} was" if count == 1 else f"{count} {what}s were"
