"""The three graphs of a trained model: encoder, decoder, and both in one."""

from __future__ import annotations

import numpy as np
import torch

from autoencoders.bundle import CODE, INPUT, RECONSTRUCTION, SCALED, TrainedModel
from autoencoders.data.scaling import Affine
from autoencoders.export.graph import Graph
from autoencoders.export.operators import emit
from autoencoders.models import Autoencoder


@torch.no_grad()
def encoder(trained: TrainedModel) -> bytes:
    """`input` [n, features] in the dataset's units -> `code` [n, code], as an ONNX file.

    Raises:
        NotExportable: a part of the model has no ONNX operator here.
    """
    graph = Graph("encoder")
    _encode(trained, graph)
    return graph.to_bytes()


@torch.no_grad()
def decoder(trained: TrainedModel) -> bytes:
    """`code` [n, code] -> `reconstruction` [n, features] in the dataset's units, as an ONNX file.

    And -> `scaled` [n, features], the same in the units in which errors are measured: scaled back from the
    dataset's it would have lost what a large shift leaves no digits for.

    Raises:
        NotExportable: a part of the model has no ONNX operator here.
    """
    graph = Graph("decoder")
    scaled = _outputs(trained.model, graph, graph.input(CODE, trained.model.code_size))
    _reconstruction(trained, graph, scaled)
    graph.output(scaled, SCALED, trained.facts.features)
    return graph.to_bytes()


@torch.no_grad()
def whole(trained: TrainedModel) -> bytes:
    """`input` -> `code` and `reconstruction` in one ONNX file; a tied weight is in it once.

    Raises:
        NotExportable: a part of the model has no ONNX operator here.
    """
    graph = Graph("autoencoder")
    _reconstruction(trained, graph, _outputs(trained.model, graph, _encode(trained, graph)))
    return graph.to_bytes()


def _encode(trained: TrainedModel, graph: Graph) -> str:
    model = trained.model
    rows = _scaled(trained.affine, graph, graph.input(INPUT, trained.facts.features))
    features = emit(model.bottleneck.linear, graph, emit(model.encoder, graph, rows))
    return graph.output(emit(model.bottleneck.head, graph, features), CODE, model.code_size)


def _outputs(model: Autoencoder, graph: Graph, code: str) -> str:
    logits = emit(model.decoder, graph, code)
    return graph.node("Sigmoid", logits) if model.output_activation == "sigmoid" else logits


def _reconstruction(trained: TrainedModel, graph: Graph, scaled: str) -> None:
    graph.output(_raw(trained.affine, graph, scaled), RECONSTRUCTION, trained.facts.features)


def _scaled(affine: Affine, graph: Graph, rows: str) -> str:
    """The scaling as `Affine.apply` does it, in two steps: within a weight, large shifts would cancel."""
    if np.any(affine.shift):
        rows = graph.node("Sub", rows, graph.array(affine.shift))
    return rows if np.all(affine.factor == 1) else graph.node("Mul", rows, graph.array(affine.factor))


def _raw(affine: Affine, graph: Graph, rows: str) -> str:
    if not np.all(affine.factor == 1):
        rows = graph.node("Div", rows, graph.array(affine.factor))
    return graph.node("Add", rows, graph.array(affine.shift)) if np.any(affine.shift) else rows
