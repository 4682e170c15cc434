"""Autoencoders: arrays in, models and events out.

The public names are looked up when they are first asked for, so that `autoencoders.data`, which reads
uploads in small child processes, comes without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoencoders.bundle import TrainedModel
    from autoencoders.data.dataset import Dataset
    from autoencoders.experiment import Experiment
    from autoencoders.spec import FAMILIES, Spec
    from autoencoders.study.run import Study
    from autoencoders.study.settle import Settling

__all__ = ["FAMILIES", "Dataset", "Experiment", "Settling", "Spec", "Study", "TrainedModel"]

_ROOMS = {
    "Dataset": "autoencoders.data.dataset",
    "Experiment": "autoencoders.experiment",
    "FAMILIES": "autoencoders.spec",
    "Settling": "autoencoders.study.settle",
    "Spec": "autoencoders.spec",
    "Study": "autoencoders.study.run",
    "TrainedModel": "autoencoders.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)
