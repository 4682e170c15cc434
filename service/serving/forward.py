"""LoadedModel: a trained model on its device, ready to answer, and what it takes in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from autoencoders import bundle
from autoencoders.data.manifest import Facts
from service.serving.codecs import Rows
from service.serving.spaces import space_of
from store import Artifacts

Arrays = dict[str, np.ndarray[Any, Any]]


class Meant(Protocol):
    """What a name was resolved to."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """Its version."""

    @property
    def artifact(self) -> str:
        """Where its files are."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version of a model in memory."""

    name: str
    version: int
    space: str
    facts: Facts
    code_size: int
    bytes: int
    trained: bundle.TrainedModel

    def encode(self, rows: Rows) -> Arrays:
        """Codes of rows."""
        return {"values": self.trained.encode(rows)}

    def decode(self, codes: Rows) -> Arrays:
        """Rows of codes, in the dataset's shape and units."""
        return {"values": self.trained.decode(codes)}

    def reconstruct(self, rows: Rows) -> Arrays:
        """Rows through the code and back, in the dataset's shape and units."""
        return {"values": self.trained.reconstruct(rows)}

    def score(self, rows: Rows, *, per_feature: bool) -> Arrays:
        """Errors with their percentiles and, where asked, the share of every feature."""
        scores = self.trained.score(rows, per_feature=per_feature)
        found: Arrays = {"values": scores.error, "percentiles": scores.percentile}
        if scores.share_per_feature is not None:
            found["per_feature"] = scores.share_per_feature
        return found


def load(artifacts: Artifacts, meant: Meant, device: torch.device) -> LoadedModel:
    """Read a model's files, put it on the device and warm it up.

    Raises:
        ArtifactMissing: the files are gone.
        BundleDamaged: they are not what they were.
    """
    folder = artifacts.local_copy(meant.artifact)
    trained = bundle.load(folder, device)
    manifest: Mapping[str, Any] = trained.manifest.model_dump(mode="json")
    model = LoadedModel(
        name=meant.name,
        version=meant.version,
        space=space_of(manifest),
        facts=trained.facts,
        code_size=trained.manifest.code_size,
        bytes=_weight(folder),
        trained=trained,
    )
    model.reconstruct(np.zeros((1, model.facts.features), dtype=np.float32))
    return model


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
