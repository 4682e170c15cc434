"""Laws of every architecture: shapes, gradients, state on disk, and that both halves make the whole."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autoencoders.init import InitContext, initialize
from autoencoders.layers.activations import activations
from autoencoders.layers.norms import norms
from autoencoders.models import Autoencoder, architectures

SHAPES: list[tuple[int, ...]] = [(12,), (4, 4)]
OPTIONS: list[dict[str, Any]] = [
    *({"norm": norm, "tied": tied} for norm, tied in itertools.product(norms.names(), (False, True))),
    *({"activation": word} for word in activations.names()),
    {"output": "sigmoid"},
    {"code": 20},
]


def build(word: str, shape: tuple[int, ...], **options: Any) -> Autoencoder:
    parameters = {"code": 3, "widths": (16, 8), **options}
    made = architectures.call(architectures.choose(word, **parameters), shape)
    assert isinstance(made, Autoencoder)
    for _ in initialize(made, "he_normal", InitContext(seed=5)):
        pass
    return made


def rows(model: Autoencoder, count: int = 9) -> Tensor:
    return torch.randn(count, model.features, generator=torch.Generator().manual_seed(7))


def _name(options: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in options.items())


every = pytest.mark.parametrize(
    ("word", "shape", "options"),
    [
        pytest.param(word, shape, options, id=f"{word}-{'x'.join(map(str, shape))}-{_name(options)}")
        for word in architectures.names()
        for shape in SHAPES
        for options in OPTIONS
    ],
)


@every
def test_shapes_are_right_and_both_halves_make_the_whole(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    model = build(word, shape, **options).eval()
    x = rows(model)
    with torch.no_grad():
        passed = model(x)
    assert passed.code.shape == (9, model.code_size)
    assert passed.logits.shape == passed.output.shape == x.shape
    torch.testing.assert_close(model.encode(x), passed.code, atol=0, rtol=0)
    torch.testing.assert_close(model.decode(model.encode(x)), passed.output, atol=0, rtol=0)
    if model.output_activation == "sigmoid":
        assert 0 <= float(passed.output.min()) <= float(passed.output.max()) <= 1
        torch.testing.assert_close(passed.output, torch.sigmoid(passed.logits))


@every
def test_gradients_reach_every_parameter(word: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    model = build(word, shape, **options)
    # The init's zero biases leave symmetric places; a little noise moves away from them.
    stream = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
    x = rows(model)
    (model(x).output - x).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


@every
def test_its_state_survives_a_safetensors_file(
    word: str, shape: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    model = build(word, shape, **options)
    model(rows(model))  # moves running statistics and power iterations
    model.eval()
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        tmp_path / "weights.safetensors",
    )
    parameters = {"code": 3, "widths": (16, 8), **options}
    other: Autoencoder = architectures.call(architectures.choose(word, **parameters), shape).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(other(rows(model)).logits, model(rows(model)).logits, atol=0, rtol=0)


@every
def test_a_deep_copy_is_a_model_of_its_own(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    model = build(word, shape, **options).eval()
    x = rows(model)
    before = model(x).logits
    other = copy.deepcopy(model)
    for layer in other.layers():
        if layer.weight is not None:
            layer.assign(torch.ones_like(layer.weight))
    assert not torch.equal(other(x).logits, before)
    assert torch.equal(model(x).logits, before)


@every
def test_its_layers_stand_in_forward_order_with_true_fans(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    model = build(word, shape, **options).eval()
    layers = model.layers()
    seen: list[str] = []
    hooks = [
        layer.module.register_forward_hook(lambda *_, name=layer.name: seen.append(name)) for layer in layers
    ]
    passed = model(rows(model), keep_hidden=True)
    for hook in hooks:
        hook.remove()
    assert seen == [layer.name for layer in layers]
    assert len(set(seen)) == len(seen)
    assert [layer.is_output for layer in layers] == [False] * (len(layers) - 1) + [True]
    assert layers[0].fed_by is None
    for layer in layers:
        assert layer.name.startswith(layer.part)
        assert (layer.weight is None) == layer.tied
        if layer.weight is not None:
            assert layer.weight.shape == (layer.outputs, layer.inputs)
    fed = [layer for layer in layers if layer.fed_by is not None]
    assert [kept.shape[1] for kept in passed.hidden] == [layer.inputs for layer in fed]


@every
def test_it_can_be_sized_without_memory(word: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    parameters = {"code": 3, "widths": (16, 8), **options}
    with torch.device("meta"):
        sized = architectures.call(architectures.choose(word, **parameters), shape)
    assert all(parameter.is_meta for parameter in sized.parameters())
    real = build(word, shape, **options)
    assert sum(p.numel() for p in sized.parameters()) == sum(p.numel() for p in real.parameters())


@pytest.mark.parametrize("word", architectures.names())
def test_building_one_touches_no_global_random_numbers(word: str) -> None:
    before = torch.get_rng_state()
    build(word, (12,))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("word", architectures.names())
def test_every_architecture_is_documented_and_fills_its_defaults(word: str) -> None:
    entry = architectures[word]
    assert entry.summary.endswith(".")
    assert entry.formula
    assert entry.reference
    choice = architectures.choose(word, code=3)
    filled = entry.traits["defaults"]((64,), **choice.parameters())
    settled = entry.schema.model_validate({"name": word, **choice.parameters(), **filled})
    assert entry.schema.model_validate_json(settled.model_dump_json()) == settled
    assert isinstance(architectures.call(settled, (64,)), Autoencoder)
