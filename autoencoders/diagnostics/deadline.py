"""When a diagnosis must come to its end, whatever it still had in mind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment of a clock.

    Attributes:
        clock: seconds that only go forward.
        at: the second at which there is no time left.
    """

    clock: Callable[[], float]
    at: float

    @classmethod
    def after(cls, seconds: float | None, clock: Callable[[], float]) -> Deadline:
        """So many seconds from now; None is never."""
        return NEVER if seconds is None else cls(clock, clock() + seconds)

    def share(self, of_what_is_left: float) -> Deadline:
        """The moment at which that share of what is left now will be gone."""
        if math.isinf(self.at):
            return self
        now = self.clock()
        return Deadline(self.clock, now + of_what_is_left * max(0.0, self.at - now))

    def has_passed(self) -> bool:
        """Whether there is no time left."""
        return self.clock() >= self.at


NEVER = Deadline(lambda: 0.0, math.inf)
"""There is always time left."""
