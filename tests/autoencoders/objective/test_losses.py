"""Every loss: the promised reduction, the gradient of finite differences, the least value at the target."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from autoencoders.models import Pass
from autoencoders.objective import losses

WORDS = losses.names()
EVERY_LOSS = pytest.mark.parametrize("word", WORDS)


def value(word: str, logits: Tensor, target: Tensor, **parameters: float) -> Tensor:
    sigmoid = losses[word].traits.get("output") == "sigmoid"
    found: Tensor = losses[word].function(
        Pass(torch.zeros(len(target), 1), logits, sigmoid), target, **parameters
    )
    return found


def target_and_logits(word: str, count: int = 4, features: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(count, features, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    # Away from the target, and from the corners of l1 and huber.
    logits = target + 0.3 + 2 * torch.rand(count, features, generator=generator, dtype=torch.float64)
    return target, logits


def log_likelihood(mean: Tensor, spread: Tensor, target: Tensor) -> Tensor:
    normal = torch.distributions.Normal(mean, spread)
    found: Tensor = normal.log_prob(target).sum(1)  # type: ignore[no-untyped-call]  # torch leaves it so
    return found


@EVERY_LOSS
def test_the_gradient_is_that_of_finite_differences(word: str) -> None:
    target, logits = target_and_logits(word)
    assert torch.autograd.gradcheck(lambda x: value(word, x, target), logits.requires_grad_())


@EVERY_LOSS
def test_nothing_is_lower_than_the_target_itself(word: str) -> None:
    target, _ = target_and_logits(word)
    perfect = torch.logit(target) if word == "bce" else target
    least = value(word, perfect, target)
    for seed in range(20):
        step = 0.1 * torch.randn(
            target.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        assert value(word, perfect + step, target) > least


@EVERY_LOSS
def test_the_gradient_vanishes_at_the_target(word: str) -> None:
    target, _ = target_and_logits(word)
    perfect = (torch.logit(target) if word == "bce" else target.clone()).requires_grad_()
    value(word, perfect, target).backward()  # type: ignore[no-untyped-call]
    assert perfect.grad is not None
    torch.testing.assert_close(perfect.grad, torch.zeros_like(target))


@EVERY_LOSS
def test_rows_are_averaged(word: str) -> None:
    target, logits = target_and_logits(word)
    twice = value(word, torch.cat([logits, logits]), torch.cat([target, target]))
    torch.testing.assert_close(twice, value(word, logits, target))


@EVERY_LOSS
def test_features_are_summed(word: str) -> None:
    target, logits = target_and_logits(word)
    twice = value(word, torch.cat([logits, logits], 1), torch.cat([target, target], 1))
    torch.testing.assert_close(twice, 2 * value(word, logits, target))


@EVERY_LOSS
def test_a_bfloat16_pass_gives_a_float32_loss(word: str) -> None:
    target, logits = target_and_logits(word)
    assert value(word, logits.bfloat16(), target.float()).dtype == torch.float32


@EVERY_LOSS
def test_the_word_is_written_as_it_is_read(word: str) -> None:
    choice = losses.choose(word)
    assert losses.choose(choice.model_dump(mode="json")) == choice


def test_mse_is_the_squared_error_of_the_literature() -> None:
    target, logits = target_and_logits("mse")
    torch.testing.assert_close(value("mse", logits, target), (logits - target).square().sum(1).mean())


def test_bce_is_the_cross_entropy_of_the_probabilities() -> None:
    target, logits = target_and_logits("bce")
    p = torch.sigmoid(logits)
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum(1).mean()
    torch.testing.assert_close(value("bce", logits, target), expected)


def test_huber_is_quadratic_within_delta_and_linear_beyond() -> None:
    target = torch.zeros(1, 2, dtype=torch.float64)
    error = torch.tensor([[0.5, 3.0]], dtype=torch.float64)
    assert float(value("huber", error, target)) == pytest.approx(0.5**2 / 2 + (3.0 - 0.5))
    assert float(value("huber", error, target, delta=2.0)) == pytest.approx(0.5**2 / 2 + 2.0 * (3.0 - 1.0))


def test_gaussian_nll_is_the_likelihood_at_the_batch_s_own_variance() -> None:
    target, logits = target_and_logits("gaussian_nll")
    variance = (logits - target).square().mean()
    rows = log_likelihood(logits, variance.sqrt(), target)
    torch.testing.assert_close(value("gaussian_nll", logits, target), -rows.mean(), rtol=1e-5, atol=1e-5)


def test_no_other_variance_makes_the_batch_likelier() -> None:
    target, logits = target_and_logits("gaussian_nll")
    found = float(value("gaussian_nll", logits, target))
    for factor in (0.5, 0.9, 1.1, 2.0):
        spread = math.sqrt(factor) * (logits - target).square().mean().sqrt()
        other = -log_likelihood(logits, spread, target).mean()
        assert float(other) > found


def test_a_perfect_reconstruction_has_a_finite_likelihood() -> None:
    target, _ = target_and_logits("gaussian_nll")
    assert math.isfinite(float(value("gaussian_nll", target, target)))
