"""What a failed job's row says of the exception that ended it."""

from __future__ import annotations

import re
import traceback
from typing import Any

from pydantic import ValidationError

from autoencoders.errors import AutoencoderError, SpecRefused, TrainingDiverged
from worker.devices import DeviceMissing, NoRoom
from worker.outcome import NotAlignable
from worker.record import EarlierModelGone

#: Their message says it all to whoever sent the job: where in our code they were raised helps nobody.
_SAID = (AutoencoderError, NoRoom, DeviceMissing, EarlierModelGone, NotAlignable)
_FRAMES = 4
_DETAIL_LIMIT = 2_000


def problem_of(error: BaseException) -> dict[str, Any]:
    """Type, title, detail and what else is known: located errors, the step it happened at, a short trace."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    problem: dict[str, Any] = {
        "type": words.lower().replace(" ", "-"),
        "title": words.capitalize(),
        "detail": (str(error) or words)[:_DETAIL_LIMIT],
    }
    if isinstance(error, SpecRefused):
        problem["errors"] = [{"loc": list(loc), "msg": message} for loc, message in error.problems]
    elif isinstance(error, ValidationError):
        problem["errors"] = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
    elif isinstance(error, TrainingDiverged):
        problem["reason"], problem["step"] = error.reason, error.step
    elif not isinstance(error, _SAID):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        problem["trace"] = "\n".join(
            f"{_module(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames
        )
    return problem


def _module(filename: str) -> str:
    """The end of a path: enough to find the line, and nothing of where this machine keeps its files."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
