"""When a training is over before its last epoch: no progress, a loss that ran away, or somebody asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoencoders.errors import TrainingDiverged


@dataclass
class Requests:
    """What another thread or a signal asks of a running training; read after every step.

    Attributes:
        stop: end after this step, with the best weights.
        checkpoint: yield a checkpoint after this step; taken back when it is yielded.
    """

    stop: bool = False
    checkpoint: bool = False


def epochs_without_gain(errors: Sequence[float]) -> int:
    """How many epochs lie after the best one."""
    if not errors:
        return 0
    best = min(range(len(errors)), key=errors.__getitem__)
    return len(errors) - 1 - best


@dataclass(frozen=True)
class DivergenceGuard:
    """Tells a training that failed from one that is merely slow.

    Args:
        reference: the greatest of the held-out error before the first step, that of predicting the mean,
            and a
            thousandth a feature (scaled values are about 1).
        ran_away: an epoch's error above so many times the reference ends the training.
        worse: a training whose best error is above so many times the reference has taught the model nothing.
    """

    reference: float
    ran_away: float = 100.0
    worse: float = 2.0

    def finite(self, loss: float, *, step: int) -> None:
        """Refuse a loss that is no number.

        Raises:
            TrainingDiverged: always then.
        """
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss}; a smaller learning rate or clip_norm may help", step=step
            )

    def epoch(self, error: float, *, step: int) -> None:
        """Refuse a held-out error that is no number or far above the reference.

        Raises:
            TrainingDiverged: always then.
        """
        self.finite(error, step=step)
        if error > self.ran_away * self.reference:
            raise TrainingDiverged(
                f"the held-out error is {error:g}, more than {self.ran_away:g} times the {self.reference:g} "
                "that it began with or that the mean row has",
                step=step,
            )

    def end(self, best_error: float, *, step: int) -> None:
        """Refuse a training that ends far above where it began.

        Raises:
            TrainingDiverged: always then.
        """
        self.finite(best_error, step=step)
        if best_error > self.worse * self.reference:
            raise TrainingDiverged(
                f"the best held-out error is {best_error:g}, far above the {self.reference:g} "
                "that it began with or that the mean row has",
                step=step,
            )
