"""A trained model as a folder, and the folder as a model that answers in the dataset's own units.

    weights.safetensors   the state dict, tensors alone: equal weights have equal hashes
    scaling.safetensors   shift and factor of the scaling
    scores.npy            float32, sorted errors of held-out rows, at most 10,000 quantiles of them
    golden.safetensors    a few held-out rows as they were uploaded, with their codes and reconstructions
    encoder.onnx, decoder.onnx  the same model for other runtimes, where it could be exported
    model.json            `BundleManifest`: spec, facts, metrics and the hashes of the others

Nothing in it is a pickle, and nothing but `inference` (what was measured where it was published) depends on
when or under which name it was made. Bundles of format 1 have no golden rows and no graphs.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import Tensor

from autoencoders import build, golden
from autoencoders.data.arrays import Array
from autoencoders.data.manifest import Facts
from autoencoders.data.npy_format import array_of
from autoencoders.data.scaling import Affine
from autoencoders.errors import BundleDamaged, DataRefused
from autoencoders.golden import GOLDEN
from autoencoders.models import Autoencoder
from autoencoders.scores import Scores, judge
from autoencoders.spec import Spec
from autoencoders.training.aligned import aligned

WEIGHTS, SCALING, SCORES, MANIFEST = "weights.safetensors", "scaling.safetensors", "scores.npy", "model.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
FILES = (WEIGHTS, SCALING, SCORES, GOLDEN, ENCODER, DECODER)
INPUT, CODE, RECONSTRUCTION, SCALED = "input", "code", "reconstruction", "scaled"
"""What the graphs' ends are called."""
_ALWAYS = {1: (WEIGHTS, SCALING, SCORES), 2: (WEIGHTS, SCALING, SCORES, GOLDEN)}
MAX_SCORES = 10_000
CHUNK_BYTES = 16 * 1024 * 1024

Float32 = npt.NDArray[np.float32]


class Metrics(BaseModel):
    """What held-out rows showed of the weights in the bundle, in scaled units."""

    model_config = ConfigDict(frozen=True)

    error: float
    loss: float
    error_per_feature: tuple[float, ...]
    explained_variance: float


class Inference(BaseModel):
    """What computes the model fastest, as it was measured where the model was published.

    Attributes:
        runtime: the faster one over all batch sizes.
        threads: with how many threads both were measured.
        precision: of the numbers in between.
        milliseconds: by runtime and rows in a batch, what encoding took at the least.
        checked: by output, the largest difference between the runtimes; 1 is the most that is allowed.
    """

    model_config = ConfigDict(frozen=True)

    runtime: Literal["onnx", "torch"]
    threads: int
    precision: Literal["float32"]
    milliseconds: dict[str, dict[str, float]]
    checked: dict[str, float]


class BundleManifest(BaseModel):
    """What `model.json` says.

    Attributes:
        format: 1 without golden rows.
        spec: the resolved spec as JSON.
        baselines: held-out errors of the mean and of PCA at the same code size; PCA's may be unknown.
        hashes: SHA-256 of every other file by its name.
        parameters: trainable numbers in the model.
        versions: of what made it.
        space: an id that two models share exactly when their codes are comparable.
        inference: what computes it fastest; None where it has no graphs.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1, 2] = 1
    spec: dict[str, Any]
    facts: Facts
    code_size: int
    metrics: Metrics
    baselines: dict[str, float | None]
    weights_sha256: str
    dataset_sha256: str
    hashes: dict[str, str]
    parameters: int
    versions: dict[str, str]
    space: str | None = None
    inference: Inference | None = None


def save(
    folder: Path,
    *,
    model: Autoencoder,
    spec: Spec,
    facts: Facts,
    affine: Affine,
    metrics: Metrics,
    baselines: Mapping[str, float | None],
    scores: Float32,
    dataset_sha256: str,
    held_out: Array,
    space: str | None = None,
) -> BundleManifest:
    """Write a model's folder.

    Args:
        folder: where; made if it is not there.
        model: on any device.
        spec: what it was trained by.
        facts: what is known of its rows.
        affine: the scaling.
        metrics: what held-out rows showed.
        baselines: what they show of the mean and of PCA.
        scores: the errors of all held-out rows, in any order.
        dataset_sha256: of the dataset.
        held_out: raw rows `[n, features]`, a few of which become the golden ones.
        space: of the model's codes, where they are comparable with another one's; its own otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    save_file(
        {"shift": torch.from_numpy(affine.shift), "factor": torch.from_numpy(affine.factor)}, folder / SCALING
    )
    np.save(folder / SCORES, _quantiles(scores), allow_pickle=False)
    golden.write(folder, golden.answers(model, affine, held_out))
    hashes = {name: sha256_of(folder / name) for name in _ALWAYS[2]}
    manifest = BundleManifest(
        format=2,
        spec=spec.model_dump(mode="json"),
        facts=facts,
        code_size=model.code_size,
        metrics=metrics,
        baselines=dict(baselines),
        weights_sha256=hashes[WEIGHTS],
        dataset_sha256=dataset_sha256,
        hashes=hashes,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        versions={"hourglass": _own_version(), "torch": torch.__version__},
    )
    manifest = manifest.model_copy(update={"space": space or space_of(manifest.model_dump(mode="json"))})
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write `model.json`, whose hashes are those of the files beside it."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")


def verify(folder: Path) -> BundleManifest:
    """Read every file again and compare its hash.

    Raises:
        BundleDamaged: a file is missing or is not what the manifest promises.
    """
    try:
        manifest = BundleManifest.model_validate_json((folder / MANIFEST).read_bytes())
        # Only names of ours are opened: what a manifest from elsewhere calls a file may be any path.
        for name in FILES:
            promised = manifest.hashes.get(name)
            if promised is None and name not in _ALWAYS[manifest.format]:
                continue
            if sha256_of(folder / name) != promised:
                raise BundleDamaged(f"{folder}: {name} is not what {MANIFEST} promises")
        if manifest.hashes[WEIGHTS] != manifest.weights_sha256:
            raise BundleDamaged(f"{folder}: weights_sha256 is not the hash of {WEIGHTS}")
    except (OSError, ValidationError) as problem:
        raise BundleDamaged(f"{folder}: {problem}") from problem
    return manifest


def load(folder: Path, device: torch.device | str = "cpu") -> TrainedModel:
    """Open a model's folder, its hashes verified.

    Raises:
        BundleDamaged: it does not hold what its manifest promises.
    """
    manifest = verify(folder)
    try:
        spec = Spec.model_validate(manifest.spec)
        model = build.model(spec, manifest.facts)
        # Read by numpy: safetensors' way to torch leaves a few objects a tensor in memory with every read.
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        scaling = load_file(folder / SCALING)
        affine = Affine(scaling["shift"], scaling["factor"])
        scores = array_of((folder / SCORES).read_bytes())
    except (OSError, ValidationError, SafetensorError, RuntimeError, KeyError, ValueError) as problem:
        raise BundleDamaged(f"{folder}: {problem}") from problem
    return TrainedModel(manifest, spec, model.to(device).eval(), affine, scores)


def space_of(manifest: Mapping[str, Any]) -> str:
    """The id of a code's meaning: equal encoders over equal scaling give equal codes, no others do."""
    told = manifest.get("space")
    if isinstance(told, str):
        return told
    architecture = (manifest.get("spec") or {}).get("architecture")
    # The architecture as well: the same tensors under another activation mean something else.
    hashes = manifest.get("hashes") or {}
    parts = [manifest.get("weights_sha256"), hashes.get(SCALING), architecture]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return "sp_" + hashlib.sha256(text.encode()).hexdigest()[:32]


class TrainedModel:
    """A model that takes and gives rows in the dataset's own units; a uint8 image answers 0..255 as floats.

    Args:
        manifest: what the bundle says of itself.
        spec: what it was trained by.
        model: on its device, in evaluation mode.
        affine: the scaling.
        scores: sorted errors of held-out rows.
    """

    def __init__(
        self, manifest: BundleManifest, spec: Spec, model: Autoencoder, affine: Affine, scores: Float32
    ) -> None:
        self.manifest, self.spec, self.model, self.affine, self.scores = manifest, spec, model, affine, scores
        self.facts = manifest.facts
        self.device = next(model.parameters()).device
        self._chunk_rows = max(1, CHUNK_BYTES // (4 * model.widest))

    def encode(self, rows: Array) -> Float32:
        """Codes `[n, code]` of raw rows, flat or in the dataset's shape."""
        return self._by_chunks(self._scaled(rows), self.model.encode, self.model.code_size)

    def decode(self, codes: Array) -> Float32:
        """Rows `[n, *shape]` in the dataset's units, of codes.

        Raises:
            DataRefused: codes are not `[n, code]`.
        """
        if codes.ndim != 2 or codes.shape[1] != self.model.code_size:
            raise DataRefused(f"codes of this model are [n, {self.model.code_size}], not {list(codes.shape)}")
        return self._raw(self.outputs(codes.astype(np.float32)))

    def outputs(self, codes: Float32) -> Float32:
        """Rows `[n, features]` in scaled units, in which errors are measured, of codes."""
        return self._by_chunks(codes, self.model.decode, self.facts.features)

    def reconstruct(self, rows: Array) -> Float32:
        """Raw rows through encoder and decoder, `[n, *shape]` in the dataset's units."""
        return self._raw(self._through(self._scaled(rows)))

    def score(self, rows: Array, *, per_feature: bool = False, codes: Float32 | None = None) -> Scores:
        """Each raw row's reconstruction error, and where it stands among those of held-out rows.

        `codes` are those of the rows, where they are known: the rows need not be encoded again.
        """
        scaled = self._scaled(rows)
        made = self._through(scaled) if codes is None else self.outputs(codes)
        return judge(np.square(made - scaled), self.scores, per_feature=per_feature)

    def _scaled(self, rows: Array) -> Float32:
        if rows.shape[1:] not in (self.facts.shape, (self.facts.features,)):
            wanted = ", ".join(map(str, self.facts.shape))
            raise DataRefused(f"rows of this model are [n, {wanted}], not {list(rows.shape)}")
        return self.affine.apply(rows.reshape(len(rows), self.facts.features))

    def _through(self, scaled: Float32) -> Float32:
        return self._by_chunks(scaled, lambda x: self.model.decode(self.model.encode(x)), self.facts.features)

    def _raw(self, scaled: Float32) -> Float32:
        return self.affine.invert(scaled).reshape(-1, *self.facts.shape)

    @torch.inference_mode()
    def _by_chunks(self, rows: Float32, function: Callable[[Tensor], Tensor], width: int) -> Float32:
        made = np.empty((len(rows), width), np.float32)
        for start in range(0, len(rows), self._chunk_rows):
            part = slice(start, start + self._chunk_rows)
            made[part] = function(aligned(rows[part], self.device)).cpu().numpy()
        return made


def _quantiles(scores: Float32) -> Float32:
    """The sorted scores, or so many of them at equal ranks, the least and the greatest among them."""
    ordered = np.sort(scores.astype(np.float32))
    if len(ordered) <= MAX_SCORES:
        return ordered
    ranks = np.linspace(0, len(ordered) - 1, MAX_SCORES).round().astype(np.int64)
    return ordered[ranks]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_version() -> str:
    try:
        return importlib.metadata.version("hourglass")
    except importlib.metadata.PackageNotFoundError:
        return "uninstalled"
