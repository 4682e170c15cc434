"""A diagnosis as the wire shows it; a figure that is no finite number is null."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Figure = float | None
Outlook = Literal["learns", "slow", "stuck", "diverges"]


class _Figures(BaseModel):
    """Figures, and whatever else was measured beside them."""

    model_config = ConfigDict(extra="allow")


class Predicted(_Figures):
    """What mean-field theory expects of a layer whose weights are independent and vary as these do."""

    variance: Figure = Field(description="The mean square of its pre-activations.")
    chi: Figure = Field(description="By how much a small difference between rows grows, in variance.")
    depth_scale: Figure = Field(description="Layers over which that is a factor of e; null at criticality.")


class LayerFigures(_Figures):
    """One layer in one pass forward and back, before any training."""

    name: str
    part: str = Field(description="encoder, code or decoder.")
    mean: Figure = Field(description="Of its pre-activations, over rows and units.")
    variance: Figure = Field(description="Of its pre-activations, over rows and units.")
    saturated: Figure = Field(description="The share of numbers at which the activation behind it is flat.")
    dead: Figure = Field(description="The share of units that are flat for every row.")
    gradient: Figure = Field(description="The norm of the loss's gradient by its weights.")
    backward: Figure = Field(description="The norm of a row's loss's gradient by its pre-activations.")
    predicted: Predicted | None = Field(None, description="Null where no theory applies.")


class CodeFigures(_Figures):
    """The codes of the rows."""

    effective_rank: Figure = Field(description="How many directions they use; 0 where all are the same.")
    correlation: Figure = Field(description="The mean cosine between different rows' codes; 1: all alike.")
    variance: Figure = Field(description="Over rows, averaged over units.")
    active: int = Field(description="Units that tell rows apart.")


class ReconstructionFigures(_Figures):
    """What comes out, beside what went in."""

    cosine: Figure = Field(description="The mean cosine between a row and its reconstruction.")


class JacobianFigures(_Figures):
    """The derivative of the reconstruction by the row: 1 everywhere is an isometry."""

    singular_values: list[Figure] = Field(description="The largest first.")
    mean_square: Figure = Field(description="The mean of their squares.")
    variance: Figure = Field(description="The variance of their squares.")


class LossFigures(_Figures):
    """Squared errors of held-out rows in scaled units, before any training."""

    start: Figure
    mean: Figure = Field(description="Of predicting the mean.")
    pca: Figure = Field(description="Of PCA at the same code size.")
    objective: Figure = Field(None, description="The job's own loss at step 0.")


class Trial(_Figures):
    """The job's first steps, taken on a copy that is thrown away."""

    steps: int = Field(description="Taken.")
    planned: int = Field(description="To be taken; a trial ends early where time runs out.")
    errors: list[tuple[int, Figure]] = Field(description="(step, squared error of held-out rows).")
    closed: Figure = Field(description="The share of the way from the mean's to PCA's closed at its end.")


class Rehearsal(_Figures):
    """The way from the trial's end to the forecast's horizon, on a quarter of every batch."""

    steps: int = Field(description="The job's step at which it ended.")
    horizon: int = Field(description="The step at which it was to end; it ends early where time runs out.")
    rows: int = Field(description="In a step.")
    errors: list[tuple[int, Figure]] = Field(description="(step, squared error of held-out rows).")
    closed: Figure = Field(description="The share of the way from the mean's to PCA's closed at its end.")


class Verdict(BaseModel):
    """A forecast of the job with its own optimizer and length, drawn from the figures alone."""

    will_learn: bool
    outlook: Outlook = Field(
        description="By the job's end, 900 steps at most: half of the way from the mean's error to PCA's is "
        "closed (learns), under a tenth (stuck), in between (slow), or it ends above the mean's (diverges)."
    )
    cause: str
    cure: str | None
    concern: str | None = Field(
        description="What is wrong with the start, with its cure, though the job gets somewhere."
    )
    evidence: dict[str, Any] = Field(description="The figures that it rests on.")


_EXAMPLE: dict[str, Any] = {
    "rows": 1680,
    "layers": [
        {
            "name": "encoder.0",
            "part": "encoder",
            "mean": -0.00365,
            "variance": 0.00142,
            "saturated": 0.0,
            "dead": 0.0,
            "gradient": 1.25e-10,
            "backward": 5e-11,
            "predicted": {"variance": 0.00151, "chi": 0.00644, "depth_scale": 0.198},
        }
    ],
    "code": {"effective_rank": 7.34, "correlation": 1.0, "variance": 2.27e-13, "active": 8},
    "reconstruction": {"cosine": 0.632},
    "jacobian": {
        "singular_values": [1.55e-12, 1.32e-12, 1.17e-12, 8.6e-13, 5.95e-13, 4.92e-13, 4.62e-13, 3.84e-13],
        "mean_square": 9.02e-25,
        "variance": 6.21e-49,
    },
    "losses": {"start": 11.5, "mean": 4.73, "pca": 1.6, "objective": 44.4},
    "trial": {"steps": 100, "planned": 100, "errors": [[0, 11.5], [100, 4.73]], "closed": -0.00126},
    "rehearsal": {
        "steps": 350,
        "horizon": 350,
        "rows": 64,
        "errors": [[100, 4.73], [350, 4.73]],
        "closed": -0.000128,
    },
    "verdict": {
        "will_learn": False,
        "outlook": "stuck",
        "cause": "ordered phase: all rows get the same code (correlation 1.000000, though the "
        "rows' own is 0.697); the gradient at encoder.0 is 5.93e-12 of the last "
        "layer's",
        "concern": None,
        "cure": "choose an init that keeps differences between rows (centred lsuv, "
        "pca_greedy, rbm_stack), an activation with mean zero, or a norm",
        "evidence": {
            "expected.closed": -0.000128,
            "rehearsal.closed": -0.000128,
            "trial.closed": -0.00126,
        },
    },
    "seconds": 3.37,
}


class Diagnosis(_Figures):
    """What an initialisation does before any training, and what will come of the job."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    rows: int = Field(description="Training rows that were looked at.")
    layers: list[LayerFigures]
    code: CodeFigures
    reconstruction: ReconstructionFigures
    jacobian: JacobianFigures
    losses: LossFigures
    trial: Trial | None
    rehearsal: Rehearsal | None = Field(
        None,
        description="None where it would cost more than half of the job, or the job's length is in seconds.",
    )
    verdict: Verdict
    auto: dict[str, Any] | None = Field(
        None,
        description="Where the init was `auto`: the candidates with their forecasts and their figures in the "
        "race, and the one that was chosen, which is the one diagnosed here.",
    )
    seconds: float
