"""What inits that look at the data are made of, and what they do where the data or the net are difficult."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autoencoders.data.baselines import pca_error
from autoencoders.data.moments import Moments
from autoencoders.data.samples import samples
from autoencoders.errors import SpecRefused
from autoencoders.events import Initialised, Warned
from autoencoders.init import InitContext, NeedsRows, initialize, inits
from autoencoders.init.flow import scale_is_fixed
from autoencoders.init.kmeans import lloyd
from autoencoders.init.pca import BENT, STRAIGHT
from autoencoders.init.principal import LARGEST_SQUARE, passage, principal
from autoencoders.init.sparse_dictionary import geometric_median
from autoencoders.layers.activations import activation
from autoencoders.models import Autoencoder, architectures
from autoencoders.randomness import generator
from tests.autoencoders.init.laws import Trial
from tests.autoencoders.init.laws.data_driven import every_unit_is_standardised
from tests.autoencoders.init.nets import context, initialised, net
from tests.autoencoders.tiny import identity

WORDS = ("lsuv", "pca", "pca_greedy", "kmeans", "whitening")


def _stream() -> torch.Generator:
    return generator(0, "a test")


def _digits() -> Tensor:
    rows = samples["digits"].function().rows
    return torch.from_numpy(np.asarray(rows, np.float32).reshape(len(rows), -1))


def _on_digits(word: Any, **architecture: Any) -> tuple[Autoencoder, float]:
    """The model after an init on 1,500 digits, and its error on the others."""
    rows, held_out = _digits()[:1500], _digits()[1500:]
    choice = architectures.choose({"name": "dense", "code": 8, **architecture})
    model: Autoencoder = architectures.call(choice, (8, 8))
    list(initialize(model, word, InitContext(seed=0, rows=lambda count: rows[:count])))
    with torch.no_grad():
        model(rows)
        return model, float((model(held_out).output - held_out).square().sum(dim=1).mean())


def _pca_error() -> float:
    rows = _digits().numpy()
    error = pca_error(Moments.accumulate(rows[:1500], rows[1500:]), identity(64), 8)
    assert error is not None
    return error


@pytest.mark.parametrize(
    "architecture",
    [
        {"widths": (64,), "activation": "linear"},
        {"widths": (16,), "activation": "linear"},
        {"widths": (100, 30), "activation": "leaky_relu"},
        {"widths": (48, 24, 17), "activation": "gelu"},
        {"widths": (48, 24), "activation": "softplus"},
        {"widths": (48, 24), "activation": "leaky_relu", "tied": True},
        {"widths": (48, 24), "activation": "relu", "norm": "weight"},
        {"name": "dense_residual", "width": 48, "blocks": 3, "activation": "silu"},
    ],
    ids=str,
)
def test_pca_begins_at_pcas_own_held_out_error(architecture: dict[str, Any]) -> None:
    assert _on_digits("pca", **architecture)[1] == pytest.approx(_pca_error(), rel=1e-4)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "elu", "selu", "sine"])
def test_pca_begins_near_it_where_activations_bend(name: str) -> None:
    assert _on_digits("pca", widths=(48, 24), activation=name)[1] < 1.15 * _pca_error()


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_pca_greedy_begins_between_pca_and_the_mean(name: str) -> None:
    assert _on_digits("pca_greedy", widths=(48, 24), activation=name)[1] < 1.4 * _pca_error()


def test_with_sigmoid_outputs_it_begins_below_pca() -> None:
    assert _on_digits("pca", widths=(48, 24), output="sigmoid")[1] < _pca_error()


def test_convolutions_begin_below_the_mean() -> None:
    held_out, mean = _digits()[1500:], _digits()[:1500].mean(dim=0)
    of_the_mean = float((held_out - mean).square().sum(dim=1).mean())
    architecture = {"name": "convolutional", "channels": (16, 32), "activation": "tanh"}
    assert _on_digits("pca", **architecture)[1] < 0.75 * of_the_mean


def test_biases_of_a_linear_net_subtract_the_mean_and_add_it_again() -> None:
    model, _ = _on_digits("pca", widths=(64,), activation="linear")
    first, *_, last = model.layers()
    mean = _digits()[:1500].mean(dim=0)
    assert first.weight is not None
    assert first.bias is not None
    assert last.bias is not None
    torch.testing.assert_close(first.bias.detach(), -first.weight.detach() @ mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(last.bias.detach(), mean, atol=1e-5, rtol=0)


def test_a_decoder_alone_is_the_transpose_of_whatever_encodes() -> None:
    model = net("wide")
    initialised(model, {"encoder": "he_normal", "code": "orthogonal", "decoder": "pca"})
    layers = model.layers()
    for down, up in zip(layers[:3], reversed(layers[3:]), strict=True):
        assert down.weight is not None
        assert up.weight is not None
        turned, weight = down.weight.detach().T, up.weight.detach()
        factor = float((weight * turned).sum() / turned.square().sum())
        torch.testing.assert_close(weight, factor * turned, rtol=1e-4, atol=1e-6)


def test_they_see_what_the_other_words_of_a_plan_have_set() -> None:
    model = net("wide")
    plan = {"encoder": "lsuv", "decoder": "lsuv", "layers": {"encoder.0": "he_normal", "code": "orthogonal"}}
    events = list(initialize(model, plan, context(model)))
    assert not any(isinstance(event, Warned) for event in events)
    done = [event.part for event in events if isinstance(event, Initialised)]
    assert done == ["encoder.0", "code", "encoder", "decoder"]


def test_the_log_variances_of_a_variational_code_begin_at_zero() -> None:
    model = net("variational")
    initialised(model, "pca")
    code = next(layer for layer in model.layers() if layer.part == "code")
    assert code.weight is not None
    assert code.bias is not None
    assert code.weight[:6].any()
    assert not code.weight[6:].any()
    assert not code.bias[6:].any()


@pytest.mark.parametrize(
    ("name", "linearity", "variance"),
    [
        ("sigmoid", BENT, 4.033),
        ("tanh", BENT, 1.008),
        ("tanh", STRAIGHT, 0.179),
        ("sigmoid", STRAIGHT, 0.716),
    ],
)
def test_the_variance_at_which_an_activation_is_so_straight(
    name: str, linearity: float, variance: float
) -> None:
    found = passage(activation(name), linearity)
    assert not found.paired
    assert not found.exact
    assert found.variance == pytest.approx(variance, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "slope"), [("relu", 1), ("leaky_relu", 1.1), ("gelu", 1), ("silu", 1), ("softplus", 1)]
)
def test_a_pair_of_units_passes_these_activations_unbent(name: str, slope: float) -> None:
    found = passage(activation(name), STRAIGHT)
    assert found.paired
    assert found.exact
    assert found.slope == pytest.approx(slope, abs=1e-6)


def test_many_columns_give_the_directions_of_a_whole_decomposition() -> None:
    columns = LARGEST_SQUARE + 52
    factors = torch.randn(300, 12, generator=_stream(), dtype=torch.float64) * torch.arange(12, 0, -1)
    sample = factors @ torch.randn(12, columns, generator=_stream(), dtype=torch.float64)
    sample += 0.01 * torch.randn(300, columns, generator=_stream(), dtype=torch.float64)
    _, values, directions = torch.linalg.svd(sample - sample.mean(dim=0), full_matrices=False)
    found, variances = principal(sample, 10, _stream())
    torch.testing.assert_close(variances, values[:10] ** 2 / 300, rtol=1e-6, atol=0)
    torch.testing.assert_close((found @ directions[:10].T).abs(), torch.eye(10).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("columns", [40, LARGEST_SQUARE + 2])
def test_where_there_are_too_few_directions_others_complete_them(columns: int) -> None:
    sample = torch.randn(8, columns, generator=_stream())
    found, variances = principal(sample, 20, _stream())
    assert int((variances > 0).sum()) == 7
    torch.testing.assert_close(found @ found.T, torch.eye(20).double(), atol=1e-6, rtol=0)


def test_lloyd_finds_the_centres_of_blobs() -> None:
    centres = 10 * torch.eye(4)
    sample = centres.repeat(50, 1) + 0.1 * torch.randn(200, 4, generator=_stream())
    # Begun from rows of the same blob it may split one; of a few beginnings one must find them all.
    found = [lloyd(sample, 4, generator(seed, "a test"), iterations=20) for seed in range(8)]
    nearest = [torch.cdist(centres, one).min(dim=1).values.max() for one in found]
    assert float(torch.stack(nearest).min()) < 0.1


def test_lloyds_centroids_are_the_means_of_their_rows() -> None:
    sample = torch.rand(500, 3, generator=_stream())
    centroids = lloyd(sample, 6, _stream(), iterations=200)
    nearest = torch.cdist(sample, centroids).argmin(dim=1)
    means = torch.stack([sample[nearest == k].mean(dim=0) for k in range(6)])
    torch.testing.assert_close(centroids, means, atol=1e-5, rtol=0)


def test_the_geometric_median_heeds_no_outlier_and_balances_directions() -> None:
    sample = torch.randn(200, 5, generator=_stream())
    sample[:20] += 1000
    median = geometric_median(sample)
    assert float(torch.linalg.vector_norm(median)) < 1
    towards = torch.nn.functional.normalize(sample - median, dim=1)
    assert float(torch.linalg.vector_norm(towards.mean(dim=0))) < 1e-3


def test_the_geometric_median_of_equal_rows_is_that_row() -> None:
    torch.testing.assert_close(geometric_median(torch.full((9, 3), 0.7)), torch.full((3,), 0.7))


@pytest.mark.parametrize("name", ["residual", "convolutional", "normed convolutional", "tied"])
def test_data_norm_standardises_every_kind_of_layer_under_weight_norm(name: str) -> None:
    trial = Trial(inits.choose("data_norm"), name, options={"norm": "weight"})
    every_unit_is_standardised(trial)


@pytest.mark.parametrize(
    ("word", "name", "reason"),
    [
        ("lsuv", "spectral norm", "cannot set the scale of encoder.0, encoder.1, decoder.0, decoder.1"),
        ("data_norm", "batch norm", "with norm `weight` it would fit"),
        ("sparse_dictionary", "wide", "with a `top_k` code it would fit"),
    ],
)
def test_a_word_that_cannot_keep_its_law_says_why(word: str, name: str, reason: str) -> None:
    with pytest.raises(SpecRefused, match=reason):
        initialised(net(name), word)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("rows", [torch.full((50, 40), 0.3), torch.rand(1, 40), torch.zeros(50, 40)])
def test_rows_that_are_all_alike_are_warned_of_and_harm_nothing(word: str, rows: Tensor) -> None:
    model = net("wide")
    events = list(initialize(model, word, InitContext(seed=0, rows=lambda _count: rows)))
    messages = [event.message for event in events if isinstance(event, Warned)]
    assert any("encoder.0" in message for message in messages), messages
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@pytest.mark.parametrize("word", [*WORDS, "data_norm", "sparse_dictionary"])
def test_without_data_they_say_so(word: str) -> None:
    name = {"data_norm": "weight norm", "sparse_dictionary": "top k"}.get(word, "wide")
    with pytest.raises(NeedsRows):
        list(initialize(net(name), word, InitContext(seed=0)))


def test_they_leave_modes_statistics_and_hooks_as_they_were() -> None:
    for word in WORDS:
        model = net("batch norm").eval()
        before = {key: value.clone() for key, value in model.named_buffers()}
        initialised(model, word)
        assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())
        assert not any(module.training for module in model.modules())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_under_a_spectral_norm_the_model_serves_what_it_was_set_to() -> None:
    model = net("spectral norm").eval()
    initialised(model, "pca")
    normed = [layer for layer in model.layers() if scale_is_fixed(layer)]
    assert len(normed) == 4
    for layer in normed:
        assert layer.weight is not None
        assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, rel=0.05)


def test_only_as_many_rows_are_looked_at_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    model = net("wide")
    data = torch.rand(400, 40)

    def rows(count: int) -> Tensor:
        asked.append(count)
        return data[:count]

    monkeypatch.setattr("autoencoders.init.flow.ROOM", 300 * 100)
    list(initialize(model, {"name": "pca", "rows": 5000}, InitContext(seed=0, rows=rows)))
    assert asked == [100]
