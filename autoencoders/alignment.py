"""A new model's code turned onto an earlier one's, so that stored embeddings stay comparable.

A plain linear code may be rotated and moved at will: the code layer and the layer that reads it take the
motion up, and no reconstruction changes. The motion is the orthogonal Procrustes solution (Schönemann, 1966)
on held-out rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoencoders.bundle import TrainedModel, space_of
from autoencoders.data.arrays import Array
from autoencoders.data.scaling import Affine
from autoencoders.layers.layer import TiedLinear
from autoencoders.layers.norms import SpectralNorm, WeightNorm
from autoencoders.models import Autoencoder
from autoencoders.training.aligned import aligned

NEIGHBOURS = 10
FITTED_ROWS, COMPARED_ROWS = 20_000, 4_000

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Motion:
    """`code @ rotation + offset`: a rotation, perhaps with a reflection [k, k], and a shift [k]."""

    rotation: Doubles
    offset: Doubles


@dataclass(frozen=True)
class Alignment:
    """How a model's code was turned onto an earlier one's.

    Attributes:
        to: the earlier model, as `name@version`.
        space: the id that both models' codes have from now on.
        fitted_rows: the held-out rows on which the motion was found.
        compared_rows: the held-out rows, others wherever there are enough, on which it was judged.
        neighbours: how many nearest rows were looked up.
        recall_before: of a row's nearest stored codes, the share that its code of the new model also finds
            among the earlier model's stored codes; before the motion.
        recall_after: the same after it.
        unexplained: the share of the earlier codes' variance that the moved codes miss.
        moved: whether the code was shifted too; it is not where the layer that reads it has no bias.
    """

    to: str
    space: str
    fitted_rows: int
    compared_rows: int
    neighbours: int
    recall_before: float
    recall_after: float
    unexplained: float
    moved: bool

    def to_json(self) -> dict[str, Any]:
        """The same for a report."""
        return asdict(self)


def unfit(reference: str, earlier: Mapping[str, Any], code: Mapping[str, Any], facts: Any) -> str | None:
    """Why codes cannot be aligned with an earlier model's; None where they can.

    Args:
        reference: the earlier model's name, for the message.
        earlier: its manifest as JSON.
        code: the new model's code, a word with its parameters.
        facts: of the new model's dataset; `shape` and `columns` are read.
    """
    before = (earlier.get("spec") or {}).get("architecture", {}).get("code") or {}
    seen = earlier.get("facts") or {}
    for who, word in (("this job's", code), (f"{reference}'s", before)):
        if word.get("name") != "plain":
            return (
                f"{who} code is {word.get('name')!r}: only a plain linear code can be turned "
                "without changing reconstructions"
            )
    if code.get("size") != before.get("size"):
        return f"{reference} has a code of {before.get('size')} numbers, this job one of {code.get('size')}"
    if list(seen.get("shape") or ()) != list(facts.shape):
        return f"{reference} reads rows of shape {seen.get('shape')}, this job's are {list(facts.shape)}"
    columns = seen.get("columns")
    if columns is not None and facts.columns is not None and list(columns) != list(facts.columns):
        return f"{reference} reads other columns, or in another order, than this dataset has"
    return None


def align(
    model: Autoencoder, affine: Affine, earlier: TrainedModel, held_out: Array, *, to: str
) -> Alignment:
    """Turn the model's code onto the earlier model's, in place; its reconstructions stay.

    Args:
        model: in evaluation mode when its codes are taken; `unfit` said nothing against it.
        affine: its scaling.
        earlier: the model whose codes are stored somewhere.
        held_out: raw rows [n, features].
        to: the earlier model's `name@version`.
    """
    rows = held_out[_spread(len(held_out), FITTED_ROWS)]
    codes, stored = _codes(model, affine, rows), earlier.encode(rows)
    # Judged on other rows than it is found on, wherever both halves are enough to find it on.
    halves = len(rows) >= 4 * model.code_size
    fitted, judged = (slice(0, None, 2), slice(1, None, 2)) if halves else (slice(None), slice(None))
    motion = procrustes(codes[fitted], stored[fitted], moves=_first_reader(model).bias is not None)
    after = codes @ motion.rotation + motion.offset
    compared = np.arange(len(rows))[judged]
    compared = compared[_spread(len(compared), COMPARED_ROWS)]
    gap = np.square(after[compared] - stored[compared]).sum()
    spread = np.square(stored[compared] - stored[compared].mean(0)).sum()
    move(model, motion)
    return Alignment(
        to=to,
        space=space_of(earlier.manifest.model_dump(mode="json")),
        fitted_rows=len(rows[fitted]),
        compared_rows=len(compared),
        neighbours=min(NEIGHBOURS, max(1, len(compared) - 1)),
        recall_before=recall(codes[compared], stored[compared]),
        recall_after=recall(after[compared], stored[compared]),
        unexplained=float(gap / spread) if spread > 0 else 0.0,
        moved=bool(np.any(motion.offset)),
    )


def procrustes(codes: Numbers, targets: Numbers, *, moves: bool = True) -> Motion:
    """The rotation (and shift, where it `moves`) that brings codes [n, k] nearest to targets [n, k]."""
    source, goal = codes.astype(np.float64), targets.astype(np.float64)
    middle, wanted = (source.mean(0), goal.mean(0)) if moves else (np.zeros(source.shape[1]),) * 2
    left, _, right = np.linalg.svd((source - middle).T @ (goal - wanted))
    rotation = left @ right
    return Motion(rotation, wanted - middle @ rotation)


def recall(queries: Numbers, stored: Numbers, count: int = NEIGHBOURS) -> float:
    """How well stored codes [n, k] answer new queries [n, k] of the same rows.

    Of each row's nearest other rows among the stored codes, by its own stored code, the share that the query
    finds there too; on average.
    """
    count = min(count, max(1, len(stored) - 1))
    if len(stored) < 2:
        return 1.0
    true, found = _nearest(stored, stored, count), _nearest(queries, stored, count)
    hits = (found[:, :, None] == true[:, None, :]).any(2).mean()
    return float(hits)


def _nearest(queries: Numbers, stored: Numbers, count: int) -> Numbers:
    """The places of the nearest stored codes of each query, the query's own row left out."""
    wide = stored.astype(np.float64)
    squares = np.square(wide).sum(1)
    places = np.empty((len(queries), count), np.int64)
    for start in range(0, len(queries), 512):
        part = queries[start : start + 512].astype(np.float64)
        distances = squares - 2 * part @ wide.T
        distances[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        places[start : start + 512] = np.argpartition(distances, count - 1, axis=1)[:, :count]
    return places


@torch.no_grad()
def move(model: Autoencoder, motion: Motion) -> None:
    """Fold a motion of the code into the layers around it: every reconstruction stays."""
    rotation, offset = (torch.from_numpy(array) for array in (motion.rotation, motion.offset))
    layer, reader = model.bottleneck.linear, _first_reader(model)
    layer.bias.copy_(layer.bias.cpu().double() @ rotation + offset)
    layer.weight.copy_(rotation.T @ layer.weight.cpu().double())
    # What is tied to the code layer has turned with it.
    if not isinstance(reader, TiedLinear):
        _turn_inputs(reader, rotation)
    if reader.bias is not None:
        weight = layer.weight.T if isinstance(reader, TiedLinear) else reader.weight
        reader.bias.copy_(reader.bias.cpu().double() - weight.cpu().double() @ offset)


def _turn_inputs(reader: nn.Linear, rotation: Tensor) -> None:
    """Let the map read turned codes, through whatever parametrization its weight has."""

    def turn(tensor: Any) -> None:
        tensor.copy_(tensor.cpu().double() @ rotation)

    if not parametrize.is_parametrized(reader, "weight"):
        turn(reader.weight)
        return
    held: Any = reader.parametrizations["weight"]  # type: ignore[index]  # torch adds it to such a map
    (norm,) = held
    if isinstance(norm, WeightNorm):
        turn(held.original1)  # the directions; a rotation changes no length
    else:
        assert isinstance(norm, SpectralNorm), "the two norms of a weight"
        turn(held.original)
        turn(norm.right)


def _first_reader(model: Autoencoder) -> nn.Linear | TiedLinear:
    """The map that reads the code."""
    module = next(layer.module for layer in model.layers() if layer.part == "decoder")
    assert isinstance(module, nn.Linear | TiedLinear), "every decoder reads its code with a linear map"
    return module


@torch.inference_mode()
def _codes(model: Autoencoder, affine: Affine, rows: Array) -> Numbers:
    was_training = model.training
    model.eval()
    device, step = next(model.parameters()).device, max(1, 4_000_000 // model.widest)
    parts = [
        model.encode(aligned(affine.apply(rows[start : start + step]), device)).cpu().numpy()
        for start in range(0, len(rows), step)
    ]
    model.train(was_training)
    return np.concatenate(parts)


def _spread(count: int, wanted: int) -> Numbers:
    """At most `wanted` places out of `count`, evenly spaced."""
    if count <= wanted:
        return np.arange(count)
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)
