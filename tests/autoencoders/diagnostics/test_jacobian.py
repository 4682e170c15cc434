"""The Jacobian of a linear net is its weights' product."""

from __future__ import annotations

import pytest
import torch

from autoencoders.diagnostics.jacobian import DIRECTIONS, read_jacobian
from autoencoders.randomness import generator
from tests.autoencoders.diagnostics.nets import net, normal_rows


def test_singular_values_of_a_linear_net_are_those_of_the_product_of_its_weights() -> None:
    model = net(20, widths=(16, 12), code=5, activation="linear").double()
    product = torch.eye(20, dtype=torch.float64)
    for layer in model.layers():
        assert layer.weight is not None
        product = layer.weight.detach() @ product
    expected = torch.linalg.svdvals(product)[:5]
    found = read_jacobian(model, normal_rows(6, 20).double(), generator(0))
    assert found.singular_values == pytest.approx(expected.tolist(), rel=1e-8)
    assert found.mean_square == pytest.approx(float(expected.square().mean()), rel=1e-8)
    assert found.variance == pytest.approx(float(expected.square().var(correction=0)), rel=1e-8)


def test_an_orthogonal_linear_net_is_an_isometry_on_its_code() -> None:
    model = net(20, "orthogonal", widths=(20, 20), code=20, activation="linear").double()
    found = read_jacobian(model, normal_rows(4, 20).double(), generator(0))
    assert found.mean_square == pytest.approx(1.0, abs=1e-6)
    assert found.variance == pytest.approx(0.0, abs=1e-6)


def test_it_agrees_with_torch_s_own_jacobian_of_a_bent_net() -> None:
    model = net(12, widths=(10,), code=3, activation="tanh", output="sigmoid").double()
    rows = normal_rows(1, 12).double()
    whole = torch.autograd.functional.jacobian(lambda row: model(row[None]).output[0], rows[0])  # type: ignore[no-untyped-call]  # torch leaves it untyped
    expected = torch.linalg.svdvals(whole)[:3]
    assert read_jacobian(model, rows, generator(0)).singular_values == pytest.approx(expected.tolist())


def test_a_wide_code_is_looked_at_in_a_slice() -> None:
    model = net(100, "orthogonal", widths=(100,), code=90, activation="linear")
    assert len(read_jacobian(model, normal_rows(2, 100), generator(0)).singular_values) == DIRECTIONS
