"""The frozen facts that anything long yields, and their JSON.

`for event in experiment.run(): ...` is training: the caller publishes, checkpoints or leaves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from autoencoders.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact. `type` is its name on the wire; the fields are its data."""

    type: ClassVar[str] = "log"

    def to_json(self) -> dict[str, Any]:
        """Its data as JSON-able values; fields marked `wire=False` stay in the process."""
        hidden = {item.name for item in fields(self) if item.metadata.get("wire") is False}
        return {key: value for key, value in asdict(self).items() if key not in hidden}


@dataclass(frozen=True, kw_only=True)
class Log(Event):
    """Something worth a line for whoever watches."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something that will not stop the job, but that its owner should know."""

    type: ClassVar[str] = "warning"

    message: str


@dataclass(frozen=True, kw_only=True)
class Initialised(Event):
    """Progress of an initialisation: of its last word, or of one epoch of a pretraining."""

    type: ClassVar[str] = "init"

    word: str
    part: str
    seconds: float
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Diagnosed(Event):
    """What the initialised model shows before its first step, and what is forecast of its training."""

    type: ClassVar[str] = "diagnosis"

    diagnosis: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """Training progress between epochs; `loss` is the objective's mean over the rows since the last one."""

    type: ClassVar[str] = "step"

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    rows_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Epoch(Event):
    """An epoch is over: `epoch` counts finished ones; errors are squared, on held-out rows, in scaled units.

    `train_loss` is the objective over the rows as they were trained on; `loss` that on held-out rows.
    """

    type: ClassVar[str] = "epoch"

    epoch: int
    epochs: int
    step: int
    train_loss: float
    loss: float
    error: float
    best: bool
    learning_rate: float
    seconds: float
    rows_per_second: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Event):
    """Everything a resume needs; the caller keeps `state`, the wire sees only where it was taken."""

    type: ClassVar[str] = "checkpoint"

    epoch: int
    step: int
    best: bool
    state: TrainingState = field(metadata={"wire": False})

    def to_json(self) -> dict[str, Any]:
        """Where it was taken; the tensors stay in the process."""
        return {"epoch": self.epoch, "step": self.step, "best": self.best}


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """Training is over and the best epoch's weights are back in the model.

    `ended` is one of `epochs`, `early_stopping`, `stopped`, `max_seconds`.
    """

    type: ClassVar[str] = "log"

    ended: str
    epoch: int
    step: int
    error: float
    loss: float
    seconds: float
