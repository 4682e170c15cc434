"""The rule of the outlook: what becomes of the job by its horizon.

The way from the mean's held-out error to PCA's is the unit. Where a rehearsal went the whole way, the job
closes 1.1 of what the rehearsal closed, whose noisier steps get less far; a loss that was no number, or an
error above the mean's, is what it is. Where there was none, or time cut it short, the trial is extrapolated.
Two things are followed over its end:

* the signal, by which reconstructions follow their rows. Where the gain is .02 at the trial's end the net
  has left the plateau, and what it will close is `.6 + .33 ln gain + .24 ln(1 + n / 100) + .16 ln rank +
  .64 growth`, with `n` the rate-time (the sum of the rates' factors) that is left, `rank` the code's
  effective rank after the trial, and `growth` the logarithm of the gain's ratio over the trial's last
  fifth, between 0 and 1. Where it has not, it will do so when the gain has grown on to .02 at its rate, or
  the spread of codes that were alike to .3 at theirs, and the same is counted from there.
* the excess, by which the error lies above the mean's because levels and scales are still wrong: it falls
  on at its rate, which itself fell by what it did over the trial; where less than half of the way is left,
  no slower than by its power of the time.

What is closed in the end is the one less the other. The numbers were set on the odd jobs of
`benchmarks/diagnosis.py`, and its errors are counted on the plain grid there, on none of which they were set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Outlook: TypeAlias = Literal["learns", "slow", "stuck", "diverges"]

HALF, TENTH = 0.5, 0.1
ABOVE = 0.02
"""An error above the mean's by less than this share of the way is the mean's: steps jitter by so much."""
ESCAPED = 0.02
"""The gain at which a net has left the plateau."""
SPREAD = 0.3
"""The standard deviation of code units at which it is about to."""
ALIKE = 0.95
"""The correlation above which codes are all but alike."""
GAIN_OF_ROWS = 1.1
"""What steps on whole batches close, over what those of a rehearsal do."""
COLLAPSED = 1.5
"""The effective rank below which a code that had more has been trampled by the steps."""


@dataclass(frozen=True)
class Expectation:
    """What is expected at the horizon.

    Attributes:
        outlook: the word for it.
        closed: the share of the way from the mean's error to PCA's.
        signal: the share that the growing gain closes, as the trial extrapolates.
        excess: the share that wrong levels and scales still cost, likewise.
        rehearsed: whether a rehearsal says what is closed; else it is the one less the other.
    """

    outlook: Outlook
    closed: float
    signal: float
    excess: float
    rehearsed: bool = False


def expect(found: dict[str, Any]) -> Expectation:
    """Forecast from the figures of a diagnosis, as `Diagnosis.to_json` gives them."""
    trial, rehearsal = found["trial"], found["rehearsal"]
    if not trial["survived"]:
        return Expectation("diverges", -math.inf, 0.0, math.inf)
    signal, excess = _signal(found), _excess(found)
    if rehearsal is None or (rehearsal["survived"] and rehearsal["steps"] < rehearsal["horizon"]):
        return Expectation(word_of(signal - excess), signal - excess, signal, excess)
    if not rehearsal["survived"]:
        return Expectation("diverges", -math.inf, signal, excess, rehearsed=True)
    closed = rehearsal["closed"] * (GAIN_OF_ROWS if rehearsal["closed"] > 0 else 1.0)
    return Expectation(word_of(closed), closed, signal, excess, rehearsed=True)


def word_of(closed: float) -> Outlook:
    """The outlook of a job that closes this share of the way from the mean's error to PCA's."""
    if closed < -2.5 * ABOVE:
        return "diverges"
    return "learns" if closed >= HALF else "slow" if closed >= TENTH else "stuck"


def _at(marks: list[list[float]], share: float) -> float:
    """The figure at the mark nearest to that share of the trial."""
    last = marks[-1][0]
    value: float = min(marks, key=lambda mark: abs(mark[0] - share * last))[1]
    return value


def _signal(found: dict[str, Any]) -> float:
    trial, code = found["trial"], found["code"]
    late, end = _at(trial["gains"], 0.8), _at(trial["gains"], 1.0)
    rank = code["after"]["effective_rank"] or 0.0
    if trial["ahead"] <= 0:
        return max(float(trial["closed"]), 0.0)
    growth = math.log(end / late) if min(end, late) > 0 else 0.0
    if end >= ESCAPED:
        risen = growth if late > 0 else 1.0
        return 0.0 if rank < COLLAPSED else _learned(end, trial["ahead"], rank, risen)
    ways = [_waiting_for_the_code(found)]
    if growth > 0:
        ways.append((math.log(ESCAPED / end) / growth * 0.2 * trial["done"], growth))
    return max(_learned(ESCAPED, trial["ahead"] - waiting, rank, rise) for waiting, rise in ways)


def _learned(gain: float, ahead: float, rank: float, growth: float) -> float:
    """The share of the way that a net off the plateau closes in the rate-time that it has left."""
    if ahead <= 0:
        return 0.0
    rising = 0.64 * min(max(growth, 0.0), 1.0)
    time = 0.24 * math.log1p(ahead / 100)
    return max(0.0, 0.6 + 0.33 * math.log(gain) + time + 0.16 * math.log(max(rank, 1.0)) + rising)


def _waiting_for_the_code(found: dict[str, Any]) -> tuple[float, float]:
    """The rate-time until codes that were all but alike have spread; the growth is taken to be fast then."""
    code, after = found["code"], found["code"]["after"]
    before, now = math.sqrt(code["variance"] or 0.0), math.sqrt(after["variance"] or 0.0)
    if (code["correlation"] or 0.0) < ALIKE or not now > 1.1 * before > 0:
        return math.inf, 0.0
    rate = math.log(now / before) / found["trial"]["done"]
    return max(0.0, math.log(SPREAD / now)) / rate, 1.0


def _excess(found: dict[str, Any]) -> float:
    trial, losses = found["trial"], found["losses"]
    way = max(losses["mean"] - losses["pca"], 1e-30)
    middle, late, end = ((_at(trial["errors"], share) - losses["mean"]) / way for share in (0.5, 0.8, 1.0))
    done, ahead = trial["done"], trial["ahead"]
    if end <= 0.0 or middle <= end:
        return float(max(0.0, end))
    power = end * ((done + ahead) / done) ** (math.log(end / middle) / math.log(2.0))
    falls = (late - end) / (0.2 * done)
    if falls <= 0.0:
        return float(min(end, power))
    kept = min(falls / max((middle - late) / (0.3 * done), 1e-12), 1.0)
    span = 0.25 * done
    lasting = ahead if kept > 0.9 else span / -math.log(kept) * (1.0 - kept ** (ahead / span))
    slowing = end - falls * lasting
    return float(max(0.0, slowing if end > HALF else min(slowing, power)))
