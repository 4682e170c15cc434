"""Graphs for a new bundle where they can be made; a model is one without them too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autoencoders.bundle import BundleManifest
from autoencoders.data.dataset import Dataset
from autoencoders.events import Warned

COMPARED_ROWS = 300


def export(
    folder: Path, manifest: BundleManifest, dataset: Dataset, tell: Callable[[Warned], None]
) -> BundleManifest:
    """Add graphs to a new bundle; where that fails, it stays as it is, and PyTorch serves the model."""
    try:
        from autoencoders.export.publish import add_graphs

        return add_graphs(folder, dataset.held_out[:COMPARED_ROWS])
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        tell(Warned(message=f"no ONNX graphs were made, PyTorch serves this model: {said}"))
        return manifest
