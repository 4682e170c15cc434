"""Going on from an earlier model: equal, grown or cut, and where a plan names its sources."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autoencoders.errors import SpecRefused
from autoencoders.init import Earlier, InitContext, initialize, inits
from autoencoders.init.earlier import pinned, sources
from autoencoders.init.plan import read_plan
from autoencoders.models import Autoencoder, architectures

IMAGE = (12, 12)


def made(name: str = "dense", shape: tuple[int, ...] = (20,), **parameters: Any) -> Autoencoder:
    built: Autoencoder = architectures.call(architectures.choose(name, **parameters), shape)
    return built


def trained(model: Autoencoder, shape: tuple[int, ...]) -> Earlier:
    """As a training leaves a model: no number of it is that of an init."""
    stream = torch.Generator().manual_seed(8)
    for _ in initialize(model, "he_normal", InitContext(seed=4)):
        pass
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn(value.shape, generator=stream))
            assert name
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() and "running" in name:
                buffer.add_(0.3 * torch.rand(buffer.shape, generator=stream))
    return Earlier(model, shape)


def after(model: Autoencoder, earlier: Earlier, plan: Any = None) -> Autoencoder:
    context = InitContext(seed=1, earlier=lambda _source: earlier)
    for _ in initialize(model, plan or {"name": "model", "source": "before@1"}, context):
        pass
    return model


def rows(features: int, count: int = 30) -> Tensor:
    return torch.rand(count, features, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def outputs(model: Autoencoder, x: Tensor) -> Tensor:
    logits: Tensor = model.eval()(x).logits
    return logits


GROWN: list[tuple[str, tuple[int, ...], dict[str, Any], dict[str, Any]]] = [
    ("dense", (20,), {"widths": (16, 8), "code": 4}, {"widths": (24, 11), "code": 6}),
    (
        "dense",
        (20,),
        {"widths": (16,), "code": 4, "norm": "batch"},
        {"widths": (24,), "code": 4, "norm": "batch"},
    ),
    (
        "dense",
        (20,),
        {"widths": (16,), "code": 4, "norm": "weight"},
        {"widths": (24,), "code": 9, "norm": "weight"},
    ),
    ("dense", (20,), {"widths": (16,), "code": 4, "tied": True}, {"widths": (16,), "code": 4}),
    (
        "dense",
        (20,),
        {"widths": (16,), "code": {"name": "variational", "size": 4}},
        {"widths": (20,), "code": {"name": "variational", "size": 7}},
    ),
    (
        "dense",
        (20,),
        {"widths": (16,), "code": 4},
        {"widths": (20,), "code": {"name": "variational", "size": 7}},
    ),
    ("dense_residual", (20,), {"width": 16, "blocks": 2, "code": 4}, {"width": 24, "blocks": 4, "code": 5}),
    ("convolutional", IMAGE, {"channels": (4, 6), "code": 5}, {"channels": (7, 9), "code": 8}),
    (
        "convolutional",
        IMAGE,
        {"channels": (4, 6), "code": 5, "kernel": 4},
        {"channels": (4, 6), "code": 5, "kernel": 6},
    ),
    (
        "convolutional_residual",
        IMAGE,
        {"channels": (4,), "blocks": 1, "code": 5, "norm": "batch"},
        {"channels": (6,), "blocks": 1, "code": 6, "norm": "batch"},
    ),
]


@pytest.mark.parametrize(("name", "shape", "small", "large"), GROWN, ids=lambda value: str(value)[:60])
def test_a_grown_model_begins_as_the_same_function(
    name: str, shape: tuple[int, ...], small: dict[str, Any], large: dict[str, Any]
) -> None:
    earlier = trained(made(name, shape, **small), shape)
    grown = after(made(name, shape, **large), earlier)
    x = rows(grown.features)
    torch.testing.assert_close(outputs(grown, x), outputs(earlier.model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape", "small", "large"), GROWN, ids=lambda value: str(value)[:60])
def test_new_units_can_learn(
    name: str, shape: tuple[int, ...], small: dict[str, Any], large: dict[str, Any]
) -> None:
    grown = after(made(name, shape, **large), trained(made(name, shape, **small), shape)).train()
    x = rows(grown.features)
    passed = grown(x, generator=torch.Generator().manual_seed(0))
    (passed.output - x).square().sum().backward()
    for layer in grown.layers():
        own = [parameter for parameter in layer.module.parameters() if parameter.grad is not None]
        branch = layer.branch is not None and not bool(layer.branch.scale.any())
        assert branch or any(bool(parameter.grad.any()) for parameter in own if parameter.grad is not None)


def test_a_cut_model_keeps_the_first_units() -> None:
    earlier = trained(made(widths=(16, 8), code=4), (20,))
    cut = after(made(widths=(10, 8), code=3), earlier)
    for new, old in zip(cut.layers(), earlier.model.layers(), strict=True):
        assert new.weight is not None
        assert old.weight is not None
        assert torch.equal(new.weight, old.weight[: new.shape[0], : new.shape[1]])


def test_a_table_that_gained_a_column_keeps_what_the_others_meant() -> None:
    earlier = trained(made(widths=(16,), code=4), (20,))
    wider = made(widths=(16,), code=4, shape=(23,))
    after(wider, earlier)
    x = rows(23)
    torch.testing.assert_close(outputs(wider, x)[:, :20], outputs(earlier.model, x[:, :20]))


def test_a_larger_image_keeps_pixels_at_their_places() -> None:
    from autoencoders.data.manifest import Facts

    earlier = trained(made(shape=(4, 5), widths=(16,), code=4), (4, 5))
    facts = Facts(
        shape=(6, 7), dtype="float32", rows=9, training_rows=8, held_out_rows=1, minimum=0, maximum=1
    )
    larger = made(shape=(6, 7), widths=(16,), code=4)
    context = InitContext(seed=1, facts=facts, earlier=lambda _source: earlier)
    for _ in initialize(larger, {"name": "model", "source": "before"}, context):
        pass
    x = rows(42).reshape(-1, 6, 7)
    inner = x[:, :4, :5].reshape(-1, 20)
    found = outputs(larger, x.reshape(-1, 42)).reshape(-1, 6, 7)[:, :4, :5]
    torch.testing.assert_close(found.reshape(-1, 20), outputs(earlier.model, inner))


def test_a_grown_variational_code_keeps_means_and_variances_apart() -> None:
    code = {"name": "variational", "size": 4}
    earlier = trained(made(widths=(16,), code=code), (20,))
    grown = after(made(widths=(16,), code={**code, "size": 7}), earlier)
    new, old = (model.layers()[1] for model in (grown, earlier.model))
    assert new.weight is not None
    assert old.weight is not None
    assert torch.equal(new.weight[:4], old.weight[:4])
    assert torch.equal(new.weight[7:11], old.weight[4:])


def test_a_deeper_model_draws_what_the_earlier_one_had_not() -> None:
    earlier = trained(made(widths=(16,), code=4), (20,))
    deeper = after(made(widths=(16, 9), code=4), earlier)
    plain = made(widths=(16, 9), code=4)
    for _ in initialize(plain, "he_normal", InitContext(seed=1)):
        pass
    named = {layer.name: layer.weight for layer in deeper.layers()}
    drawn = {layer.name: layer.weight for layer in plain.layers()}
    assert torch.equal(named["encoder.1"], drawn["encoder.1"])  # type: ignore[arg-type]  # both have weights
    first = earlier.model.layers()[0].weight
    assert torch.equal(named["encoder.0"], first)  # type: ignore[arg-type]  # both have weights


def test_a_part_alone_may_come_from_it() -> None:
    earlier = trained(made(widths=(16,), code=4), (20,))
    half = after(made(widths=(16,), code=4), earlier, {"encoder": {"name": "model", "source": "before"}})
    weights = [layer.weight for layer in half.layers()]
    before = [layer.weight for layer in earlier.model.layers()]
    same = [torch.equal(one, other) for one, other in zip(weights, before, strict=True)]  # type: ignore[arg-type]
    assert same == [True, False, False, False]


def test_another_architecture_is_refused_with_the_reason() -> None:
    earlier = trained(made(widths=(16,), code=4), (20,))
    with pytest.raises(SpecRefused, match="is dense, whose layers are not those of dense_residual"):
        after(made("dense_residual", width=16, blocks=1, code=4), earlier)


def test_without_earlier_models_it_is_refused() -> None:
    with pytest.raises(SpecRefused) as refused:
        list(initialize(made(code=4), {"name": "model", "source": "before"}, InitContext(seed=0)))
    assert refused.value.problems[0][0] == ("init", "source")


@pytest.mark.parametrize("source", ["faces", "faces@3", "faces@best-one"])
def test_sources_are_written_as_models_are_named(source: str) -> None:
    assert inits.choose("model", source=source).parameters() == {"source": source}


@pytest.mark.parametrize("source", ["", "@3", "faces@", "a b", "faces@1@2", "../x"])
def test_anything_else_is_no_source(source: str) -> None:
    with pytest.raises(ValueError, match="source"):
        inits.choose("model", source=source)


def test_a_plan_tells_its_sources_and_takes_exact_ones() -> None:
    plan = read_plan(
        {
            "encoder": {"name": "model", "source": "faces"},
            "layers": {"decoder.0": {"name": "model", "source": "faces@best", "centre": True}},
        }
    )
    assert sources(plan) == [
        (("encoder", "source"), "faces"),
        (("layers", "decoder.0", "source"), "faces@best"),
    ]
    exact = pinned(plan, {"faces": "faces@4", "faces@best": "faces@2"})
    assert [source for _, source in sources(exact)] == ["faces@4", "faces@2"]
    assert exact.layers["decoder.0"].centre  # type: ignore[union-attr]
    assert sources(read_plan("he_normal")) == []
    whole = pinned(read_plan({"name": "model", "source": "faces"}), {"faces": "faces@1"})
    assert sources(whole) == [(("source",), "faces@1")]
