"""Laws of every code, and what each one promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.init import InitContext, initialize
from autoencoders.models import Autoencoder, architectures
from autoencoders.models.codes import Code, codes
from autoencoders.objective import Objective
from autoencoders.training import HeldOut, evaluate
from tests.autoencoders import tiny

CASES: dict[str, dict[str, Any]] = {
    "plain": {"size": 6},
    "variational": {"size": 6, "beta": 0.5},
    "top_k": {"size": 6, "k": 2},
}
every_code = pytest.mark.parametrize("word", codes.names())


def make(word: str, **parameters: Any) -> Code:
    made: Code = codes.call(codes.choose(word, **{**CASES[word], **parameters}))
    return made


def features(code: Code, rows: int = 50, seed: int = 0) -> Tensor:
    return torch.randn(rows, code.features, generator=torch.Generator().manual_seed(seed))


def stream(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_word_is_under_law() -> None:
    assert set(CASES) == set(codes.names())


@every_code
def test_the_point_is_a_code_without_noise_of_its_size(word: str) -> None:
    code = make(word)
    given = features(code)
    point = code.point(given)
    assert point.shape == (50, code.size)
    assert torch.equal(point, code.point(given))
    assert torch.equal(code(given)[0], point)


@every_code
def test_all_chance_comes_from_the_generator_that_is_passed(word: str) -> None:
    code, before = make(word), torch.get_rng_state()
    given = features(code)
    one, terms = code(given, stream())
    assert one.shape == (50, code.size)
    assert torch.equal(code(given, stream())[0], one)
    assert all(term.ndim == 0 and bool(term.isfinite()) for term in terms.values())
    assert torch.equal(torch.get_rng_state(), before)


@every_code
def test_held_out_errors_are_those_of_the_point(word: str) -> None:
    model = tiny.model(code={"name": word, **CASES[word]})
    data = torch.from_numpy(tiny.rows(100))
    found = evaluate(model, Objective("mse"), HeldOut(tiny.rows(100), tiny.identity()))
    with torch.no_grad():
        expected = (model.decode(model.encode(data)) - data).square().sum(1).mean()
    assert found.error == pytest.approx(float(expected), rel=1e-5)


@every_code
def test_its_terms_join_the_objective_by_name(word: str) -> None:
    model = tiny.model(code={"name": word, **CASES[word]})
    data = torch.from_numpy(tiny.rows(100))
    with torch.no_grad():
        found = Objective("mse")(model, data, stream())
        terms = model(data, generator=stream()).terms
    assert set(found.parts) == {"loss", *terms}
    assert float(found.total) == pytest.approx(float(found.loss) + sum(map(float, terms.values())))


@every_code
def test_every_code_is_documented(word: str) -> None:
    assert codes[word].summary.endswith(".")
    assert codes[word].formula
    assert codes[word].reference


def test_a_variational_code_draws_from_the_law_that_it_was_given() -> None:
    code = make("variational", size=2)
    law = torch.tensor([[1.0, -2.0, 2 * math.log(0.5), 2 * math.log(3.0)]]).expand(40_000, 4)
    drawn, _ = code(law, stream())
    # 4.5 standard errors of the means and of the deviations of 40,000 normal draws.
    for place, (mean, std) in enumerate([(1.0, 0.5), (-2.0, 3.0)]):
        assert abs(float(drawn[:, place].mean()) - mean) < 4.5 * std / 200
        assert abs(float(drawn[:, place].std()) / std - 1) < 4.5 / math.sqrt(2 * 40_000)
    assert abs(float(torch.corrcoef(drawn.T)[0, 1])) < 4.5 / 200


def test_the_variational_term_is_the_divergence_from_the_standard_normal_law() -> None:
    code = make("variational", beta=0.7)
    given = features(code)
    mean, std = given[:, :6], (0.5 * given[:, 6:]).exp()
    exact = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(code(given, stream())[1]["kl"], 0.7 * exact.sum(1).mean())


def test_free_bits_are_free_for_each_unit_of_its_own() -> None:
    # Two units tell 2 bits and .5 bits of a row on average: mean^2 / 2 nats each.
    given = torch.tensor([[math.sqrt(4 * math.log(2)), math.sqrt(math.log(2)), 0.0, 0.0]]).requires_grad_()
    term = make("variational", size=2, beta=1.0, free_bits=1.0)(given)[1]["kl"]
    torch.testing.assert_close(term, torch.tensor(3 * math.log(2)))
    term.backward()
    assert given.grad is not None
    assert given.grad[0, 0] == given[0, 0]
    assert given.grad[0, 1:].tolist() == [0, 0, 0]


def test_gradients_reach_mean_and_variance_through_the_draw() -> None:
    code = make("variational")
    given = features(code).requires_grad_()
    code(given, stream())[0].sum().backward()
    assert given.grad is not None
    assert bool((given.grad[:, :6] == 1).all())
    assert bool((given.grad[:, 6:] != 0).all())


def test_a_top_k_code_keeps_its_largest_numbers_and_their_gradients_alone() -> None:
    code = make("top_k", size=5, k=2)
    given = torch.tensor([[3.0, -1.0, 2.0, 0.5, 1.0], [-5.0, -1.0, -2.0, -3.0, -4.0]]).requires_grad_()
    kept = code.point(given)
    assert kept.tolist() == [[3, 0, 2, 0, 0], [0, -1, -2, 0, 0]]
    (kept * torch.tensor([1.0, 2, 3, 4, 5])).sum().backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert given.grad.tolist() == [[1, 0, 3, 0, 0], [0, 2, 3, 0, 0]]


def test_a_top_k_code_never_keeps_more_where_numbers_are_equal() -> None:
    assert make("top_k", size=6, k=2).point(torch.ones(3, 6)).sum(1).tolist() == [2, 2, 2]


def test_a_top_k_code_that_keeps_everything_is_the_plain_one() -> None:
    given = features(make("plain"))
    assert torch.equal(make("top_k", k=6).point(given), given)


def test_a_code_cannot_keep_more_than_it_has() -> None:
    with pytest.raises(SpecRefused, match="a code of 6 numbers cannot keep 7") as refused:
        make("top_k", k=7)
    assert refused.value.problems[0][0] == ("k",)


def test_tied_is_refused_where_the_code_layer_has_no_mirror() -> None:
    with pytest.raises(SpecRefused, match="variational code has no layer") as refused:
        tiny.model(code={"name": "variational", "size": 3}, tied=True)
    assert refused.value.problems[0][0] == ("architecture", "tied")


def test_a_tied_top_k_net_decodes_by_the_code_layers_transpose() -> None:
    chosen = architectures.choose(
        "dense", code=CASES["top_k"] | {"name": "top_k"}, widths=(8,), tied=True, activation="linear"
    )
    model: Autoencoder = architectures.call(chosen, (12,))
    list(initialize(model, "orthogonal", InitContext(seed=1)))
    first, bottom = model.layers()[0].weight, model.layers()[1].weight
    assert first is not None
    assert bottom is not None
    z = model.encode(torch.from_numpy(tiny.rows(9)))
    assert ((z != 0).sum(1) == 2).all()
    torch.testing.assert_close(model.decode(z), z @ bottom @ first)
