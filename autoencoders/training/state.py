"""Everything that resuming needs, as one object, and as a folder that is whole or refused.

A folder holds `state.pt`, tensors and plain values alone, read by `torch.load(weights_only=True)`, and
`state.json` with its SHA-256. Resuming is exact, bit for bit, on the same kind of device, version of torch
and number of threads; the latter two are written down in `state.json` for whoever has to ask.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoencoders.errors import CheckpointDamaged

FORMAT = 2
READABLE = (1, 2)
"""Format 1 is from before there were learning-rate factors: it is read as having none."""

STATE_FILE, MANIFEST_FILE = "state.pt", "state.json"


@dataclass
class Progress:
    """How far a training has come, in plain numbers.

    Attributes:
        epoch: finished epochs.
        batch: steps taken in the epoch under way.
        step: steps taken in all, and `rows` the rows in them.
        seconds: time spent so far, over all resumes.
        prior_seconds: time spent before the first step, which counts where time is the budget.
        reference: what a training that failed is told by; see `DivergenceGuard`.
        errors: the held-out error after each finished epoch.
        best_error: the least of them, and `best_loss` the held-out loss with it.
        best_epoch: the epoch that it belongs to.
        epoch_rows: rows trained on in the epoch under way.
        epoch_seconds: time spent on them.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    seconds: float = 0.0
    prior_seconds: float = 0.0
    reference: float = math.inf
    errors: list[float] = field(default_factory=list)
    best_error: float = math.inf
    best_loss: float = math.inf
    best_epoch: int = 0
    epoch_rows: int = 0
    epoch_seconds: float = 0.0


@dataclass
class TrainingState:
    """A training at one moment, on the CPU, sharing no memory with the one that goes on.

    Attributes:
        progress: the plain numbers.
        model: the model's state dict.
        optimizer: the optimizer's state dict.
        generators: the state of every random stream by name.
        epoch_loss: the objective summed over the rows of the epoch under way, float64.
        best: the best epoch's state dict; None before the first epoch is over.
        factors: each parameter's learning-rate factor, where an init asked for one other than 1.
    """

    progress: Progress
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    generators: dict[str, Tensor]
    epoch_loss: Tensor
    best: dict[str, Tensor] | None = None
    factors: dict[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it as a new folder, which appears whole or not at all.

        Raises:
            FileExistsError: the folder is there already.
        """
        if folder.exists():
            raise FileExistsError(folder)
        draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        draft.mkdir(parents=True)
        try:
            with (draft / STATE_FILE).open("wb") as file:
                torch.save({**vars(self), "progress": asdict(self.progress)}, file)
                _to_disk(file.fileno())
            self._write_manifest(draft)
            draft.rename(folder)
            _sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _write_manifest(self, folder: Path) -> None:
        manifest = {
            "format": FORMAT,
            "sha256": _sha256(folder / STATE_FILE),
            "bytes": (folder / STATE_FILE).stat().st_size,
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        with (folder / MANIFEST_FILE).open("w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            _to_disk(file.fileno())
        _sync_folder(folder)

    @classmethod
    def load(cls, folder: Path) -> TrainingState:
        """Read a folder that `save` wrote.

        Raises:
            CheckpointDamaged: a file is missing, is of another format, or does not hash to what was written.
        """
        try:
            manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
            if manifest["format"] not in READABLE:
                raise CheckpointDamaged(f"{folder}: format {manifest['format']} is none of {READABLE}")
            if _sha256(folder / STATE_FILE) != manifest["sha256"]:
                raise CheckpointDamaged(f"{folder}: {STATE_FILE} is not what was written")
            stored = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            return cls(**{**stored, "progress": Progress(**stored["progress"])})
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            EOFError,
            pickle.UnpicklingError,
        ) as problem:
            raise CheckpointDamaged(f"{folder}: {problem}") from problem


def copied(value: Any, device: torch.device | str = "cpu") -> Any:
    """The same nested value with every tensor cloned to `device`, detached."""
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    if isinstance(value, dict):
        return {key: copied(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(item, device) for item in value)
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
