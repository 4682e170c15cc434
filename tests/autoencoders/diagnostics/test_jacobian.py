"""The Jacobian of a linear net is its weights' product."""

from __future__ import annotations

import math

import pytest
import torch

from autoencoders.diagnostics.deadline import Deadline
from autoencoders.diagnostics.jacobian import DIRECTIONS, FEWEST, read_jacobian
from autoencoders.randomness import generator
from tests.autoencoders.diagnostics.nets import clock, net, normal_rows


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
    found = read_jacobian(model, normal_rows(2, 100), generator(0))
    assert len(found.singular_values) == DIRECTIONS
    # Any slice of an isometry is one.
    assert found.mean_square == pytest.approx(1.0, abs=1e-4)
    assert found.variance == pytest.approx(0.0, abs=1e-4)


def test_singular_values_are_means_over_rows() -> None:
    model = net(12, widths=(10,), code=3, activation="tanh").double()
    rows = 3 * normal_rows(4, 12).double()
    alone = torch.tensor([read_jacobian(model, row[None], generator(0)).singular_values for row in rows])
    found = read_jacobian(model, rows, generator(0))
    assert found.singular_values == pytest.approx(alone.mean(0).tolist(), rel=1e-5)
    assert found.variance == pytest.approx(float(alone.square().var(correction=0)), rel=1e-4)


def test_a_jacobian_that_is_no_number_is_none() -> None:
    model = net(12, widths=(10,), code=3, activation="tanh")
    with torch.no_grad():
        model.bottleneck.linear.weight.fill_(float("inf"))
    found = read_jacobian(model, normal_rows(4, 12), generator(0))
    assert len(found.singular_values) == 3
    assert all(math.isnan(value) for value in (*found.singular_values, found.mean_square, found.variance))


def test_where_time_runs_out_it_looks_at_fewer_directions() -> None:
    model = net(20, "orthogonal", widths=(20, 20), code=20, activation="linear").double()
    rows, late = normal_rows(4, 20).double(), Deadline.after(0.0, clock())
    found = read_jacobian(model, rows, generator(0), late)
    assert len(found.singular_values) == FEWEST
    # Any slice of an isometry is one.
    assert found.mean_square == pytest.approx(1.0, abs=1e-6)
    assert found.variance == pytest.approx(0.0, abs=1e-6)
