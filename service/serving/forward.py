"""LoadedModel: one version of a model in memory, ready to answer, and what it takes there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch

from autoencoders import bundle
from autoencoders.data.manifest import Facts
from autoencoders.data.scaling import Affine
from autoencoders.scores import judge
from service.serving.codecs import Expected, Rows, white_of
from service.serving.lane import Arrays, Lane, Seen, Wants
from service.serving.runtimes import AS_PUBLISHED, Float32, Runtime, Wished, open_runtime
from service.serving.statistics import Statistics
from store import Artifacts

Action = Literal["encode", "decode", "reconstruct", "score"]
Headers = tuple[tuple[bytes, bytes], ...]
_BATCH_BYTES = 16 * 1024 * 1024
_WARM_ROWS = (1, 32, 128)
_WARM_SECONDS = 1.0


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
    """One version of a model in memory.

    Attributes:
        bytes: what its weights take.
        manifest: what its bundle says of itself.
        runtime: what computes it.
        encoding: the lane of codes alone.
        decoding: the lane from codes to rows.
        through: the lane of what needs both.
        expected: what the body of a request for an action holds.
    """

    name: str
    version: int
    space: str
    facts: Facts
    code_size: int
    bytes: int
    manifest: bundle.BundleManifest
    runtime: Runtime
    encoding: Lane
    decoding: Lane
    through: Lane
    expected: dict[Action, Expected] = field(repr=False)

    @property
    def key(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @cached_property
    def told(self) -> dict[str, Any]:
        """How an answer names it."""
        return {"name": self.name, "version": self.version, "space": self.space}

    @cached_property
    def headers(self) -> Headers:
        """The headers of every answer of it."""
        return (b"x-model", self.key.encode()), (b"x-space", self.space.encode())


@dataclass(frozen=True)
class Passes:
    """The forward passes of a model, as its lanes run them.

    Args:
        runtime: what computes.
        affine: the scaling.
        scores: sorted errors of held-out rows.
        shape: of a row in the dataset.
    """

    runtime: Runtime
    affine: Affine
    scores: Float32
    shape: tuple[int, ...]

    def encode(self, rows: Rows, _: Wants) -> Arrays:
        """`code` of rows."""
        return {"code": self.runtime.encode(rows)}

    def decode(self, codes: Rows, _: Wants) -> Arrays:
        """`rows` of codes, in the dataset's shape and units."""
        return {"rows": self.runtime.decode(codes).reshape(-1, *self.shape)}

    def through(self, rows: Rows, wants: Wants) -> Arrays:
        """`code`, `rows`, `error` with its `percentile`, and `share`: those that are wanted."""
        code = self.runtime.encode(rows)
        made: Arrays = {"code": code}
        if "rows" in wants:
            made["rows"] = self.runtime.decode(code).reshape(-1, *self.shape)
        if "error" in wants:
            squared = np.square(self.runtime.outputs(code) - self.affine.apply(rows))
            found = judge(squared, self.scores, per_feature="share" in wants)
            made |= {"error": found.error, "percentile": found.percentile}
            if found.share_per_feature is not None:
                made["share"] = found.share_per_feature
        return made


def load(
    artifacts: Artifacts,
    meant: Meant,
    device: torch.device,
    wished: Wished = AS_PUBLISHED,
    seen: Seen | None = None,
) -> LoadedModel:
    """Read a model's files, put it on the device and warm it up.

    Raises:
        ArtifactMissing: the files are gone.
        BundleDamaged: they are not what they were.
    """
    folder, seen = artifacts.local_copy(meant.artifact), seen or Statistics()
    trained = bundle.load(folder, device)
    manifest: Mapping[str, Any] = trained.manifest.model_dump(mode="json")
    facts, code_size = trained.facts, trained.manifest.code_size
    most = max(1, _BATCH_BYTES // (4 * trained.model.widest))
    runtime = open_runtime(folder, trained, wished)
    passes = Passes(runtime, trained.affine, trained.scores, facts.shape)
    white = white_of(facts.shape, facts.dtype, facts.minimum, facts.maximum)
    rows = Expected(facts.features, facts.shape, facts.columns, white=white)
    model = LoadedModel(
        name=meant.name,
        version=meant.version,
        space=bundle.space_of(manifest),
        facts=facts,
        code_size=code_size,
        bytes=runtime.bytes + trained.scores.nbytes,
        manifest=trained.manifest,
        runtime=runtime,
        encoding=Lane(passes.encode, most, seen),
        decoding=Lane(passes.decode, most, seen),
        through=Lane(passes.through, most, seen),
        expected={
            "encode": rows,
            "reconstruct": rows,
            "score": rows,
            "decode": Expected(code_size, (code_size,), None, "its codes"),
        },
    )
    _warm(model)
    return model


def _warm(model: LoadedModel) -> None:
    """Make the first passes here, where no caller waits for them, and learn from them how long they take."""
    lanes = (
        (model.encoding, model.facts.features, frozenset({"code"})),
        (model.decoding, model.code_size, frozenset({"rows"})),
        (model.through, model.facts.features, frozenset({"rows", "error", "percentile"})),
    )
    until = time.perf_counter() + _WARM_SECONDS
    for lane, width, wants in lanes:
        for count in _WARM_ROWS:
            if count > 1 and (count > lane.most_rows or time.perf_counter() > until):
                break
            rows = np.zeros((count, width), np.float32)
            lane.forward(rows, wants)
            began = time.perf_counter()
            lane.forward(rows, wants)
            lane.pace.learn(count, time.perf_counter() - began)
