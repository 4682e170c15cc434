"""Laws of every architecture: shapes, gradients, state on disk, and that both halves make the whole."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from autoencoders.catalog import Choice
from autoencoders.errors import SpecRefused
from autoencoders.init import InitContext, initialize
from autoencoders.layers.activations import activation, activations
from autoencoders.layers.layer import Layer, TiedLinear
from autoencoders.layers.norms import norms
from autoencoders.models import Autoencoder, architectures

FLAT: list[tuple[int, ...]] = [(12,), (4, 4)]
IMAGES: list[tuple[int, ...]] = [(8, 8), (1, 9, 7), (3, 12, 12)]
NORMS = [{"name": "group", "groups": 4} if word == "group" else word for word in norms.names()]
CASES: dict[str, tuple[list[tuple[int, ...]], dict[str, Any], list[dict[str, Any]]]] = {
    "dense": (
        FLAT,
        {"widths": (16, 8)},
        [{"norm": norm, "tied": True} for norm in NORMS],
    ),
    "dense_residual": (FLAT, {"width": 16, "blocks": 2}, []),
    "convolutional": (IMAGES, {"channels": (8, 12)}, [{"kernel": 3}, {"kernel": 5}]),
    "convolutional_residual": (IMAGES, {"channels": (8, 12)}, [{"kernel": 3}, {"blocks": 2}]),
}
"""For each word: shapes of a row, small parameters, and options of its own."""
STANDARDISING = [norm for norm in NORMS if norm not in ("none", "weight", "spectral")]
OPTIONS: list[dict[str, Any]] = [
    *({"norm": norm} for norm in NORMS),
    *({"activation": word} for word in activations.names()),
    {"output": "sigmoid"},
    {"code": 20},
    {"code": {"name": "variational", "size": 3}},
    {"code": {"name": "top_k", "size": 9, "k": 4}, "norm": "batch"},
]


def choice(word: str, **options: Any) -> Choice:
    return architectures.choose(word, **{"code": 3, **CASES[word][1], **options})


def build(word: str, shape: tuple[int, ...], **options: Any) -> Autoencoder:
    made = architectures.call(choice(word, **options), shape)
    assert isinstance(made, Autoencoder)
    for _ in initialize(made, "he_normal", InitContext(seed=5)):
        pass
    return made


def rows(model: Autoencoder, count: int = 9) -> Tensor:
    return torch.randn(count, model.features, generator=torch.Generator().manual_seed(7))


def _name(options: dict[str, Any]) -> str:
    words = {key: value["name"] if isinstance(value, dict) else value for key, value in options.items()}
    return "-".join(f"{key}={value}" for key, value in words.items())


def _trials(options: Callable[[str], list[dict[str, Any]]]) -> pytest.MarkDecorator:
    """Every option on every word, each on one of the word's shapes; no option at all on every shape."""
    trials = []
    for word in architectures.names():
        shapes = CASES[word][0]
        tried: list[tuple[tuple[int, ...], dict[str, Any]]] = [(shape, {}) for shape in shapes]
        tried += [(shapes[place % len(shapes)], option) for place, option in enumerate(options(word))]
        trials += [
            pytest.param(word, shape, option, id=f"{word}-{'x'.join(map(str, shape))}-{_name(option)}")
            for shape, option in tried
        ]
    return pytest.mark.parametrize(("word", "shape", "options"), trials)


every = _trials(lambda word: [*OPTIONS, *CASES[word][2]])
some = _trials(lambda word: [OPTIONS[1], *OPTIONS[-2:], *CASES[word][2]])
every_word = pytest.mark.parametrize("word", architectures.names())


def test_every_word_is_under_law() -> None:
    assert set(CASES) == set(architectures.names())


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
    passed = model(x, generator=torch.Generator().manual_seed(3))
    total = (passed.output - x).square().sum() + sum(passed.terms.values())
    total.backward()
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
    other: Autoencoder = architectures.call(choice(word, **options), shape).eval()
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
def test_its_layers_stand_in_forward_order_and_know_their_sizes_and_what_feeds_them(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    model = build(word, shape, **options).eval()
    layers = model.layers()
    read: dict[str, Tensor] = {}
    yielded: dict[Any, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Any], out: Any) -> None:
        if not isinstance(out, Tensor):
            return
        yielded[module] = out.flatten(1)
        for layer in layers:
            if layer.module is module:
                read[layer.name] = arguments[0].flatten(1)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    x = rows(model)
    passed = model(x, keep_hidden=True)
    for hook in hooks:
        hook.remove()
    assert list(read) == [layer.name for layer in layers] == _names(layers)
    assert [layer.is_output for layer in layers] == [False] * (len(layers) - 1) + [True]
    for layer in layers:
        assert (layer.weight is None) == layer.tied
        assert layer.weight is None or layer.weight.shape == layer.shape
        assert read[layer.name].shape[1] == layer.inputs
        assert yielded[layer.module].shape[1] == layer.outputs
        source = x if layer is layers[0] else passed.code
        torch.testing.assert_close(
            read[layer.name], source if layer.fed_by is None else yielded[layer.fed_by], atol=0, rtol=0
        )
        assert layer.normed == (layer.fed_by is not None and options.get("norm") in STANDARDISING)
    assert [layer.name for layer in layers if layer.fed_by is None] == ["encoder.0", "decoder.0"]
    assert len(passed.hidden) == len(layers) - 2
    assert model.widest == max(layer.outputs for layer in layers) or model.widest == model.features


def _names(layers: list[Layer]) -> list[str]:
    down = sum(layer.part == "encoder" for layer in layers)
    up = len(layers) - down - 2
    encoder, decoder = [f"encoder.{n}" for n in range(down)], [f"decoder.{n}" for n in range(up)]
    return [*encoder, "code", *decoder, "decoder.output"]


@some
def test_its_fans_are_what_an_inner_output_sums_and_an_inner_input_reaches(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    for layer in build(word, shape, **options).layers():
        summed, reached = counted_fans(layer)
        assert layer.fans.fan_in == pytest.approx(summed)
        assert layer.fans.fan_out == pytest.approx(reached)


def counted_fans(layer: Layer) -> tuple[float, float]:
    """By ones: what an output far from every edge sums, and how many outputs such an input reaches."""
    module = layer.module
    if isinstance(module, nn.Linear | TiedLinear):
        ones = torch.ones(1, layer.inputs), torch.ones(1, layer.outputs)
        matrix = torch.ones(layer.outputs, layer.inputs)
        return float((ones[0] @ matrix.T).mean()), float((ones[1] @ matrix).mean())
    weight = torch.ones_like(module.weight)
    convolve = functools.partial(functional.conv2d, stride=module.stride, padding=_pair(module.padding))
    spread = functools.partial(
        functional.conv_transpose2d, stride=module.stride, padding=_pair(module.padding)
    )
    out, back = (convolve, spread) if isinstance(module, nn.Conv2d) else (spread, convolve)
    seen = (
        out(torch.ones(1, layer.shape[1], 96, 96), weight),
        back(torch.ones(1, layer.units, 96, 96), weight),
    )
    # An even number of pixels, so that a stride's phases count alike.
    return float(seen[0][..., 16:32, 16:32].mean()), float(seen[1][..., 16:32, 16:32].mean())


def _pair(padding: Any) -> tuple[int, int]:
    return (int(padding[0]), int(padding[1]))


@every
def test_residual_branches_are_numbered_through_the_model_and_scale_what_they_add(
    word: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    model = build(word, shape, **options).eval()
    layers = model.layers()
    inside = [layer.branch for layer in layers if layer.branch is not None]
    branches = list(dict.fromkeys(inside))
    assert [branch.index for branch in branches] == list(range(len(branches)))
    assert {branch.count for branch in branches} <= {len(branches)}
    assert bool(branches) == word.endswith("residual")
    names = {layer.name: layer for layer in layers}
    with torch.no_grad():
        for branch in branches:
            assert [names[name].branch for name in branch.layers] == [branch] * len(branch.layers)
            assert bool((branch.scale == 1).all())
            branch.scale.zero_()
        before = model(rows(model)).logits
        for branch in branches:
            for name in branch.layers:
                names[name].assign(torch.ones(names[name].shape))
    assert torch.equal(model(rows(model)).logits, before)


@pytest.mark.parametrize("word", [word for word in architectures.names() if "convolutional" in word])
@pytest.mark.parametrize("shape", [(64,), (2, 8, 8), (3, 4, 5, 6)])
def test_rows_that_are_no_images_are_refused_by_a_convolutional_word(
    word: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(SpecRefused, match="needs rows that are images") as refused:
        build(word, shape)
    assert refused.value.problems[0][0] == ("architecture",)


@every
def test_it_can_be_sized_without_memory(word: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    with torch.device("meta"):
        sized = architectures.call(choice(word, **options), shape)
    assert all(parameter.is_meta for parameter in sized.parameters())
    real = build(word, shape, **options)
    assert sum(p.numel() for p in sized.parameters()) == sum(p.numel() for p in real.parameters())


@every_word
def test_building_one_touches_no_global_random_numbers(word: str) -> None:
    before = torch.get_rng_state()
    build(word, CASES[word][0][0])
    assert torch.equal(torch.get_rng_state(), before)


@every_word
def test_a_tailored_slope_is_solved_for_the_activations_that_a_row_passes(word: str) -> None:
    # A goal so low that even four layers need a slope of their own to keep to it.
    chosen = activations.choose("tailored_leaky_relu", eta=0.5)
    model = build(word, CASES[word][0][0], activation=chosen)
    passed = model(rows(model), keep_hidden=True)
    slope = activation(chosen, depth=len(passed.hidden)).label
    assert slope != activation(chosen, depth=1).label
    assert {layer.fed_by.label for layer in model.layers() if layer.fed_by is not None} == {slope}


@every_word
def test_a_code_that_does_not_fit_is_refused_where_it_stands(word: str) -> None:
    with pytest.raises(SpecRefused, match="cannot keep 5") as refused:
        build(word, CASES[word][0][0], code={"name": "top_k", "size": 4, "k": 5})
    assert refused.value.problems[0][0] == ("architecture", "code", "k")


@every_word
def test_a_norm_that_does_not_fit_is_refused_where_it_stands(word: str) -> None:
    with pytest.raises(SpecRefused, match="7 groups do not divide") as refused:
        build(word, CASES[word][0][0], norm={"name": "group", "groups": 7})
    assert {location for location, _ in refused.value.problems} == {("architecture", "norm", "groups")}


@every_word
def test_every_architecture_is_documented_and_fills_its_defaults(word: str) -> None:
    entry = architectures[word]
    shape = CASES[word][0][-1]
    assert entry.summary.endswith(".")
    assert entry.formula
    assert entry.reference
    chosen = architectures.choose(word, code=3)
    filled = entry.traits["defaults"](shape, **chosen.parameters())
    settled = entry.schema.model_validate({"name": word, **chosen.parameters(), **filled})
    assert entry.schema.model_validate_json(settled.model_dump_json()) == settled
    with torch.device("meta"):
        assert isinstance(architectures.call(settled, shape), Autoencoder)
