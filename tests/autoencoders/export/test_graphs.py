"""Every model as ONNX Runtime computes it: the same answers, raw units in and out, any number of rows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from autoencoders.bundle import TrainedModel
from autoencoders.export import graphs
from autoencoders.export.graph import Graph
from autoencoders.export.operators import NotExportable, emit
from autoencoders.export.sessions import apart, session
from autoencoders.layers.activations import Activation, activations
from autoencoders.layers.norms import norms
from tests.autoencoders.export import models

DENSE = models.ARCHITECTURES["dense"]
CASES = models.combinations(tuple(norms.names()))


def norm_of(word: str) -> dict[str, object]:
    return {"name": word, **({"groups": 2} if word == "group" else {})}


def assert_alike(trained: TrainedModel) -> None:
    rows = models.rows()
    codes, back = trained.encode(rows), trained.reconstruct(rows).reshape(len(rows), -1)
    scaled = trained.outputs(codes)
    encode, decode, whole = (
        session(draw(trained)) for draw in (graphs.encoder, graphs.decoder, graphs.whole)
    )
    for size in (1, 7, 300):
        part = rows[:size]
        (found,) = encode.run(["code"], {"input": part})
        assert found.shape == (size, trained.model.code_size)
        assert apart(found, codes[:size], float(codes.std())) <= 1
        found, said = decode.run(["reconstruction", "scaled"], {"code": codes[:size]})
        assert apart(found, back[:size], float(back.std())) <= 1
        assert apart(said, scaled[:size], float(scaled.std())) <= 1
        both = whole.run(["code", "reconstruction"], {"input": part})
        assert apart(both[0], codes[:size], float(codes.std())) <= 1
        assert apart(both[1], back[:size], float(back.std())) <= 1


@pytest.mark.parametrize(("architecture", "code", "norm"), CASES)
def test_every_architecture_code_and_norm_answers_alike(architecture: str, code: str, norm: str) -> None:
    word = {**models.ARCHITECTURES[architecture], "code": models.CODES[code], "norm": norm_of(norm)}
    assert_alike(models.model(word))


@pytest.mark.parametrize("word", activations.names())
def test_every_activation_answers_alike(word: str) -> None:
    assert_alike(models.model({**DENSE, "code": 4, "activation": word}))


@pytest.mark.parametrize("parameters", [{"name": "elu", "alpha": 0.3}, {"name": "sine", "omega": 1.5}])
def test_an_activation_s_parameters_come_along(parameters: dict[str, object]) -> None:
    assert_alike(models.model({**DENSE, "code": 4, "activation": parameters}))


def test_a_sigmoid_output_is_in_the_graph() -> None:
    assert_alike(models.model({**DENSE, "code": 4, "output": "sigmoid"}, scaling="min_max"))


def test_a_large_shift_does_not_cancel() -> None:
    trained = models.model({**DENSE, "code": 4})
    trained.affine.shift[:] += 1000
    rows = models.rows() + 1000
    codes = trained.encode(rows)
    (found,) = session(graphs.encoder(trained)).run(None, {"input": rows})
    assert apart(found, codes, float(codes.std())) <= 1


def test_a_tied_weight_is_held_once() -> None:
    tied, loose = (
        graphs.whole(models.model({**models.ARCHITECTURES[name], "code": 6})) for name in ("tied", "dense")
    )
    assert len(tied) < 0.65 * len(loose)


def test_a_graph_is_the_same_bytes_each_time_and_names_its_ends() -> None:
    trained = models.model({**DENSE, "code": 4})
    data = graphs.whole(trained)
    assert data == graphs.whole(trained)
    graph = onnx.load_from_string(data).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["code", "reconstruction"]
    rows, features = graph.input[0].type.tensor_type.shape.dim
    assert (rows.dim_param, features.dim_value) == ("n", 42)


def test_what_has_no_operator_is_refused_by_name() -> None:
    graph = Graph("test")
    with pytest.raises(NotExportable, match="Bilinear"):
        emit(torch.nn.Bilinear(2, 2, 2), graph, graph.input("x", 2))
    with pytest.raises(NotExportable, match="'cube'"):
        emit(Activation("cube", lambda x: x**3), graph, graph.input("x", 2))


def test_a_difference_is_measured_by_what_is_allowed() -> None:
    expected = np.asarray([[1.0, -1.0]], np.float32)
    assert apart(expected, expected, 1.0) == 0
    assert apart(expected + np.float32(3e-5), expected, 1.0) == pytest.approx(1.5, rel=0.01)
    assert apart(expected * np.float32(np.nan), expected, 1.0) == float("inf")
