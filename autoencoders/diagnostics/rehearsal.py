"""A rehearsal: from the trial's end on to the horizon of the forecast, on a quarter of every batch.

A hundred steps do not show what happens at the five hundredth: whether a plateau is left, or a rate that was
bearable breaks the net when its weights have grown. The rest of the way can be walked for a fraction of the
job's own work where each step looks at fewer rows. Gradients are noisier, to twice their deviation, so that
it closes somewhat less than the job will.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from autoencoders.diagnostics.deadline import NEVER, Deadline
from autoencoders.diagnostics.stepper import Stepper
from autoencoders.diagnostics.trial import Trial, mark

MARKS = 8


@dataclass(frozen=True)
class Rehearsal:
    """What the rehearsal showed.

    Attributes:
        steps: the job's step at which it ended, counted from the job's first.
        horizon: the step at which it was to end.
        rows: in a step.
        errors: (step, squared error of held-out rows), from the trial's last step on.
        survived: whether every loss was a finite number.
    """

    steps: int
    horizon: int
    rows: int
    errors: tuple[tuple[int, float], ...]
    survived: bool


def rehearse(
    stepper: Stepper, trial: Trial, held_out: Tensor, deadline: Deadline = NEVER
) -> Rehearsal | None:
    """Go on after a trial with the same stepper; it ends where the deadline has passed.

    None where the plan has no rehearsal, the trial came to no good end, or it was the whole job.
    """
    model, plan = stepper.model.train(), stepper.plan
    first = plan.walk[trial.steps - 1] + 1
    ways = range(first, plan.horizon)
    if not (plan.rehearses and trial.survived and trial.steps == trial.planned and ways):
        return None
    errors, loss = [(first, trial.marks[-1].error)], 0.0
    when = {first + round(len(ways) * part / MARKS) for part in range(1, MARKS + 1)}
    for step in ways:
        loss = stepper.step(plan.schedule(step, ()), plan.rehearsed_rows)
        late = deadline.has_passed()
        if not math.isfinite(loss):
            break
        if late or step + 1 in when:
            errors.append((step + 1, mark(model, held_out, step + 1).error))
        if late:
            break
    return Rehearsal(
        steps=step + 1,
        horizon=plan.horizon,
        rows=plan.rehearsed_rows,
        errors=tuple(errors),
        survived=math.isfinite(loss) and math.isfinite(errors[-1][1]),
    )
