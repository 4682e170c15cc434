"""The three graphs of a trained model: encoder, decoder, and both in one."""

from __future__ import annotations

import numpy as np
import torch

from autoencoders.bundle import CODE, INPUT, RECONSTRUCTION, TrainedModel
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

    Raises:
        NotExportable: a part of the model has no ONNX operator here.
    """
    graph = Graph("decoder")
    _decode(trained, graph, graph.input(CODE, trained.model.code_size))
    return graph.to_bytes()


@torch.no_grad()
def whole(trained: TrainedModel) -> bytes:
    """`input` -> `code` and `reconstruction` in one ONNX file; a tied weight is in it once.

    Raises:
        NotExportable: a part of the model has no ONNX operator here.
    """
    graph = Graph("autoencoder")
    _decode(trained, graph, _encode(trained, graph))
    return graph.to_bytes()


def _encode(trained: TrainedModel, graph: Graph) -> str:
    model = trained.model
    rows = _scaled(trained.affine, graph, graph.input(INPUT, trained.facts.features))
    features = emit(model.bottleneck.linear, graph, emit(model.encoder, graph, rows))
    return graph.output(emit(model.bottleneck.head, graph, features), CODE, model.code_size)


def _decode(trained: TrainedModel, graph: Graph, code: str) -> str:
    rows = _raw(
        trained.affine, graph, _output(trained.model, graph, emit(trained.model.decoder, graph, code))
    )
    return graph.output(rows, RECONSTRUCTION, trained.facts.features)


def _output(model: Autoencoder, graph: Graph, logits: str) -> str:
    return graph.node("Sigmoid", logits) if model.output_activation == "sigmoid" else logits


def _scaled(affine: Affine, graph: Graph, rows: str) -> str:
    """The scaling as `Affine.apply` does it, in two steps: within a weight, large shifts would cancel."""
    if np.any(affine.shift):
        rows = graph.node("Sub", rows, graph.array(affine.shift))
    return rows if np.all(affine.factor == 1) else graph.node("Mul", rows, graph.array(affine.factor))


def _raw(affine: Affine, graph: Graph, rows: str) -> str:
    if not np.all(affine.factor == 1):
        rows = graph.node("Div", rows, graph.array(affine.factor))
    return graph.node("Add", rows, graph.array(affine.shift)) if np.any(affine.shift) else rows
