"""From a finished experiment to the folder that is its model: aligned where asked, saved, and exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoencoders import alignment, bundle
from autoencoders.alignment import Alignment
from autoencoders.bundle import BundleManifest, TrainedModel
from autoencoders.data.dataset import Dataset
from autoencoders.events import Event, Log
from autoencoders.experiment import Experiment
from autoencoders.export.optional import export
from autoencoders.spec import Spec


class NotAlignable(Exception):
    """A job's code cannot be turned onto the earlier model's that it names."""


@dataclass(frozen=True)
class Earlier:
    """The model with whose code a new one's is to be comparable."""

    reference: str
    model: TrainedModel


def earlier_model(
    document: dict[str, Any], spec: Spec, dataset: Dataset, files: Callable[[str], Path]
) -> Earlier | None:
    """The model that a job's `align_to` names, read before anything is trained; None where it names none.

    Raises:
        NotAlignable: their codes do not fit together.
        BundleDamaged: its files are not what they were.
    """
    reference = document.get("align_to")
    if reference is None:
        return None
    model = bundle.load(files(reference))
    code = spec.architecture.model_dump(mode="json")["code"]
    why = alignment.unfit(reference, model.manifest.model_dump(mode="json"), code, dataset.facts)
    if why is not None:
        raise NotAlignable(why)
    return Earlier(reference, model)


def write_bundle(
    experiment: Experiment, folder: Path, *, earlier: Earlier | None, tell: Callable[[Event], None]
) -> tuple[BundleManifest, Alignment | None]:
    """Write a finished experiment's model; its code is turned onto the earlier model's, if there is one.

    A model that cannot be exported is written all the same, and a warning says why.
    """
    turned = None
    if earlier is not None:
        held_out = experiment.dataset.held_out
        turned = alignment.align(
            experiment.model, experiment.affine, earlier.model, held_out, to=earlier.reference
        )
        tell(Log(message=_said(turned)))
    manifest = experiment.save(folder, space=None if turned is None else turned.space)
    return export(folder, manifest, experiment.dataset, tell), turned


def _said(turned: Alignment) -> str:
    return (
        f"aligned to {turned.to}: of {turned.neighbours} nearest stored codes, held-out rows found "
        f"{turned.recall_before:.3f} before and {turned.recall_after:.3f} after"
    )
