"""A study: one dataset, a grid of specs, equal budgets, several seeds, and what that shows.

`plan` makes the cells, once; whoever runs them gathers an outcome for each training; `compose` makes the
report of plan and outcomes, at any time. `Study` does all three in one process, without a queue.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoencoders.study.planning import Cell, Plan, plan
    from autoencoders.study.presets import PRESETS
    from autoencoders.study.report import compose
    from autoencoders.study.run import Study

__all__ = ["PRESETS", "Cell", "Plan", "Study", "compose", "plan"]

_ROOMS = {
    "PRESETS": "autoencoders.study.presets",
    "Cell": "autoencoders.study.planning",
    "Plan": "autoencoders.study.planning",
    "plan": "autoencoders.study.planning",
    "compose": "autoencoders.study.report",
    "Study": "autoencoders.study.run",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)
