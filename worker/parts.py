"""The parts of an embed job: bounds that are settled once, and results that are kept whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from store import logs
from store.artifacts import Artifacts
from store.errors import ArtifactMissing

log = logs.get(__name__)

Float32 = npt.NDArray[np.float32]
_PLAN = "plan.json"


class Plan(BaseModel):
    """What every attempt at a job must agree on, for its parts to make one file.

    Attributes:
        rows: of the whole dataset.
        part_rows: of a part; the last one may have fewer.
        width: numbers that are kept for a row.
        threads: of the forward pass; sums split over another number differ in their last bits.
        weights_sha256: of the model.
        dataset_sha256: of the rows.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    rows: int
    part_rows: int
    width: int
    threads: int
    weights_sha256: str
    dataset_sha256: str

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.rows // self.part_rows)

    def bounds(self, part: int) -> tuple[int, int]:
        """The rows of a part: from the first up to the second."""
        return part * self.part_rows, min((part + 1) * self.part_rows, self.rows)


def part_rows(limit_bytes: int, features: int, width: int) -> int:
    """How many rows make a part: what goes in, and what comes out, takes so many bytes at most."""
    return max(1, limit_bytes // (4 * max(features, width)))


class Parts:
    """The parts of one job among the artifacts, beside which a training would have its checkpoints.

    Args:
        artifacts: where they are kept.
        job: the job's id.
        scratch: a folder for what is on its way.
    """

    def __init__(self, artifacts: Artifacts, job: str, scratch: Path) -> None:
        self._artifacts, self._scratch = artifacts, scratch
        self._prefix = f"jobs/{job}/checkpoints"

    def agree(self, proposed: Plan) -> Plan:
        """The plan of an earlier attempt at the same work, whose parts are good then; else this one, kept."""
        earlier = self._earlier()
        if earlier is not None and _work(earlier) == _work(proposed):
            return earlier
        self.clear()
        self._artifacts.write(f"{self._prefix}/{_PLAN}", proposed.model_dump_json().encode())
        return proposed

    def done(self) -> set[int]:
        """The numbers of the parts that are there."""
        stems = (Path(name).stem for name in self._artifacts.list(self._prefix) if name.endswith(".npy"))
        return {int(stem) for stem in stems if stem.isdigit()}

    def keep(self, part: int, values: Float32) -> None:
        """Keep what a part's rows became, [rows, width]."""
        path = self._scratch / f"{part:08d}.npy"
        np.save(path, values, allow_pickle=False)
        self._artifacts.put_file(path, self._key(part), move=True)

    def read(self, part: int, plan: Plan) -> Float32 | None:
        """What was kept of a part, [rows, width]; None where nothing was, or not what the plan says."""
        start, stop = plan.bounds(part)
        try:
            values = np.load(io.BytesIO(self._artifacts.read(self._key(part))), allow_pickle=False)
        except ArtifactMissing:
            return None
        except (ValueError, EOFError) as error:
            log.warning("a part is damaged; it is computed again", part=part, error=str(error))
            return None
        if values.shape != (stop - start, plan.width) or values.dtype != np.float32:
            log.warning("a part has another shape; it is computed again", part=part, shape=values.shape)
            return None
        return np.asarray(values, np.float32)

    def clear(self) -> None:
        """Remove all parts and their plan."""
        self._artifacts.remove(self._prefix)

    def _earlier(self) -> Plan | None:
        try:
            return Plan.model_validate_json(self._artifacts.read(f"{self._prefix}/{_PLAN}"))
        except (ArtifactMissing, ValidationError):
            return None

    def _key(self, part: int) -> str:
        return f"{self._prefix}/{part:08d}.npy"


def regrouped(parts: Iterator[Float32], rows: int) -> Iterator[Float32]:
    """The same rows in portions of `rows` each, the last one smaller."""
    waiting: list[Float32] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part)
        while held >= rows:
            whole = np.concatenate(waiting)
            yield whole[:rows]
            waiting, held = [whole[rows:]], held - rows
    if held:
        yield np.concatenate(waiting)


def _work(plan: Plan) -> tuple[object, ...]:
    """What is to be done, whichever way it is cut into parts."""
    return plan.rows, plan.width, plan.weights_sha256, plan.dataset_sha256
