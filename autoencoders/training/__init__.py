"""Training: the loop, its batches and state, what it is judged by and when it ends."""

from autoencoders.training.batches import Batches
from autoencoders.training.evaluation import Evaluation, HeldOut, evaluate, row_errors
from autoencoders.training.loop import train
from autoencoders.training.state import Progress, TrainingState
from autoencoders.training.stopping import Requests

__all__ = [
    "Batches",
    "Evaluation",
    "HeldOut",
    "Progress",
    "Requests",
    "TrainingState",
    "evaluate",
    "row_errors",
    "train",
]
