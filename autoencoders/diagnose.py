"""The bounded child process that diagnoses a job before it is submitted: `python -m autoencoders.diagnose`.

The request is one JSON object on standard input: `spec`; `folder`, that of a canonical dataset; `rows`, the
most that are looked at, pretraining included; `threads`; `device`; `earlier`, the folders of earlier models
by the names that an init gives; `seconds`, after how many the trial shall end, counted from `asked`, a
time in seconds since 1970, or else from when the request was read: the imports before it take long on a
busy machine. The diagnosis is the answer on standard output. What is refused answers
`{"message", "problems": [{"loc", "msg"}]}` and ends with exit code 3.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from autoencoders.data.dataset import Dataset
from autoencoders.errors import AutoencoderError, SpecRefused
from autoencoders.experiment import DIAGNOSED_ROWS, Experiment
from autoencoders.spec import Spec
from autoencoders.study.settle import Settling

REFUSED = 3
CHOOSING = 0.7
"""The share of the time in which `auto` must be settled."""


class DiagnosisRequest(BaseModel):
    """What the child is asked for."""

    model_config = ConfigDict(extra="forbid")

    spec: dict[str, Any]
    folder: Path
    rows: PositiveInt = DIAGNOSED_ROWS
    threads: PositiveInt = 1
    device: str = "cpu"
    earlier: dict[str, Path] = {}
    seconds: PositiveFloat | None = None
    asked: PositiveFloat | None = None


def answer(request: DiagnosisRequest) -> dict[str, Any]:
    """Initialise the job's model and diagnose it; where its init is `auto`, settle that first.

    Raises:
        ValidationError: the spec knows a word or a parameter that does not exist.
        SpecRefused: it cannot be built for this dataset.
        AutoencoderError: anything else about it that is wrong.
    """
    began = time.time() if request.asked is None else request.asked

    def left() -> float | None:
        return None if request.seconds is None else max(0.0, request.seconds - (time.time() - began))

    dataset, seconds = Dataset.open(request.folder), left()
    settling = Settling(
        Spec.model_validate(request.spec),
        dataset,
        device=request.device,
        threads=request.threads,
        earlier=request.earlier.__getitem__,
        most_rows=request.rows,
        seconds=None if seconds is None else CHOOSING * seconds,
    )
    for _ in settling.run():
        pass
    experiment = Experiment(
        settling.spec,
        dataset,
        device=request.device,
        earlier=request.earlier.__getitem__,
        most_rows=request.rows - request.rows // 4,
    )
    for _ in experiment.initialise():
        pass
    found = experiment.diagnose(request.rows, seconds=left()).to_json()
    chosen = settling.evidence["auto"]
    return found if chosen is None else {**found, "auto": chosen}


def main() -> int:
    """Answer the request on standard input; the exit code."""
    try:
        request = DiagnosisRequest.model_validate_json(sys.stdin.read())
    except ValidationError as error:
        return _refuse(f"the request is wrong: {error}")
    try:
        found = answer(request)
    except ValidationError as error:
        problems = [([str(part) for part in item["loc"]], item["msg"]) for item in error.errors()]
        return _refuse("the spec is wrong", problems)
    except SpecRefused as refusal:
        return _refuse(str(refusal), [(list(loc), message) for loc, message in refusal.problems])
    except KeyError as error:
        return _refuse(f"there is no earlier model {error}", [(["init", "source"], "unknown")])
    except AutoencoderError as error:
        return _refuse(str(error))
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _refuse(message: str, problems: Sequence[tuple[list[str], str]] = ()) -> int:
    listed = [{"loc": loc, "msg": text} for loc, text in problems]
    sys.stdout.write(json.dumps({"message": message, "problems": listed}) + "\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
