"""Words that pretrain layer by layer: what the stack of machines and the small autoencoders promise."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from autoencoders.events import Event, Initialised
from autoencoders.init import InitContext, initialize
from autoencoders.models import Autoencoder
from tests.autoencoders.init.laws import Trial, law, needs, own_biases, variant
from tests.autoencoders.init.nets import net

needs("rbm_stack", epochs=3)
variant("rbm_stack", epochs=2, steps=3, batch_size=64)
variant("rbm_stack", epochs=2, persistent=True, momentum=0.0)
needs("stacked_denoising", epochs=2)
variant("stacked_denoising", epochs=2, corruption={"name": "gaussian", "std": 0.1}, learning_rate=0.003)
own_biases("rbm_stack", "stacked_denoising")


def structured(features: int, count: int = 1000) -> Tensor:
    """Rows in [0, 1] that three numbers decide: something to be learnt, unlike the noise of other laws."""
    stream = torch.Generator().manual_seed(5)
    factors = torch.randn(count, 3, generator=stream)
    directions = torch.randn(3, features, generator=stream)
    return torch.sigmoid(2 * factors @ directions + torch.randn(features, generator=stream))


def pretrained(model: Autoencoder, rows: Tensor, **choice: Any) -> list[Event]:
    """What an init of these rows says on its way."""
    context = InitContext(seed=2, rows=lambda count: rows[:count], data_mean=rows.mean(dim=0))
    return list(initialize(model, choice, context))


@torch.no_grad()
def error(model: Autoencoder, rows: Tensor) -> float:
    """Squared error, summed over a row, averaged over rows; batch norms see the batch."""
    model.train()
    return float((model(rows).output - rows).square().sum(dim=1).mean())


def errors_by_layer(events: list[Event]) -> dict[str, list[float]]:
    """Each layer's reconstruction errors, epoch by epoch."""
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if isinstance(event, Initialised) and "epoch" in event.detail:
            found[event.detail["layer"]].append(event.detail["reconstruction_error"])
            assert event.detail["epoch"] == len(found[event.detail["layer"]])
            assert event.part == event.detail["layer"]
    return dict(found)


@law("rbm_stack")
def the_decoder_is_the_encoders_transpose(trial: Trial) -> None:
    """To the last bit, and every bias was learnt."""
    every = trial.model.layers()
    for up, down in list(zip(every, reversed(every), strict=True))[: len(every) // 2]:
        assert up.weight is not None
        if down.weight is not None:
            assert torch.equal(up.weight.t(), down.weight)
        for layer in (up, down):
            assert layer.bias is not None
            assert bool(layer.bias.detach().any())


@law("rbm_stack", "stacked_denoising")
def every_epoch_of_every_layer_is_an_event(trial: Trial) -> None:
    """In order from the rows up to the code, so that whoever watches may leave in between."""
    every = [layer.name for layer in trial.model.layers()]
    assert trial.model is not None
    seen = errors_by_layer(trial.events)
    assert list(seen) == every[: len(every) // 2]
    assert {len(errors) for errors in seen.values()} == {trial.parameters["epochs"]}


@law("rbm_stack")
def unrolled_it_knows_more_than_the_mean(trial: Trial) -> None:
    """On rows with something to learn every machine improves, and the deep net beats the mean untrained."""
    for tied in (False, True):
        model = net("sigmoid", tied=tied)
        rows = structured(model.features)
        parameters = {**trial.parameters, "epochs": 15, "name": "rbm_stack"}
        # At a code layer's rate of a thousandth a few hundred steps teach it nothing.
        events = pretrained(model, rows, **parameters | {"learning_rate": 0.02, "batch_size": 20})
        for layer, errors in errors_by_layer(events).items():
            assert errors[-1] < errors[0], layer
        mean = float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())
        assert error(model, rows) < 0.6 * mean


@law("stacked_denoising", nets=("wide", "sigmoid", "tied", "batch norm", "weight norm", "convolutional"))
def stacked_it_knows_more_than_the_mean(trial: Trial) -> None:
    """The stack of small autoencoders reconstructs better than the mean before the model is trained."""
    model = net(trial.name)
    rows = structured(model.features)
    parameters = {**trial.parameters, "epochs": 10, "learning_rate": 0.005, "name": "stacked_denoising"}
    events = pretrained(model, rows, **parameters)
    for layer, errors in errors_by_layer(events).items():
        assert errors[-1] < errors[0], layer
    mean = float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())
    assert error(model, rows) < 0.6 * mean


@law("stacked_denoising", nets=("sigmoid",))
def it_learns_to_undo_its_corruption(trial: Trial) -> None:
    """From rows with half of their numbers masked it restores more than a stack taught on clean ones."""
    rows = structured(50)
    masked = rows * (torch.rand(rows.shape, generator=torch.Generator().manual_seed(8)) < 0.5) * 2
    left, reported = {}, {}
    for corruption in ({"name": "masking", "share": 0.5}, {"name": "gaussian", "std": 1e-6}):
        model = net("sigmoid", widths=(80,), code=8)
        choice = {"name": "stacked_denoising", "epochs": 8, "learning_rate": 0.01, "corruption": corruption}
        events = pretrained(model, rows, **choice)
        with torch.no_grad():
            restored = model(masked).output
        left[corruption["name"]] = float((restored - rows).square().sum(dim=1).mean())
        reported[corruption["name"]] = errors_by_layer(events)["encoder.0"][-1]
    assert left["masking"] < 0.9 * left["gaussian"], left
    # What is reported is how far clean rows are from what came of corrupted ones.
    assert reported["masking"] > reported["gaussian"]


@law("stacked_denoising", nets=("sigmoid", "linear"))
def each_storey_learns_as_it_is_written_down(trial: Trial) -> None:
    """Two epochs once more by hand, storey upon storey: batches, loss, clean outputs passed on, biases."""
    made, start = (net(trial.name, widths=(30,), code=8) for _ in range(2))
    rows = structured(made.features, 200)
    choice = {"name": "stacked_denoising", "epochs": 2, "corruption": {"name": "gaussian", "std": 1e-6}}
    pretrained(start, rows, **choice, learning_rate=1e-12)
    pretrained(made, rows, **choice, learning_rate=0.01)
    bent = torch.sigmoid if trial.name == "sigmoid" else torch.nn.Identity()
    layers, found, read = start.layers(), made.layers(), rows
    for up, down, wraps in ((0, 3, (bent, bent)), (1, 2, (torch.nn.Identity(), bent))):
        pair = [copy.deepcopy(layers[place].module).requires_grad_() for place in (up, down)]
        optimizer = torch.optim.Adam([one for module in pair for one in module.parameters()], lr=0.01)
        distance = functional.binary_cross_entropy if trial.name == "sigmoid" else functional.mse_loss
        order = InitContext(seed=2).stream(layers[up].name, "order")
        epochs = torch.cat([torch.randperm(200, generator=order) for _ in range(2)])
        for chosen in torch.split(epochs, 10):
            out = wraps[1](pair[1](wraps[0](pair[0](read[chosen]))))
            optimizer.zero_grad()
            torch.autograd.backward(distance(out, read[chosen], reduction="sum") / len(chosen))
            optimizer.step()
        for place, module in zip((up, down), pair, strict=True):
            for one, other in zip(found[place].module.parameters(), module.parameters(), strict=True):
                torch.testing.assert_close(one, other, atol=2e-3, rtol=0)
        with torch.no_grad():
            read = wraps[0](pair[0](read))


@law("stacked_denoising", nets=("linear",))
def a_linear_layer_comes_near_to_its_pca(trial: Trial) -> None:
    """Without corruption to speak of, a linear storey has the error of PCA at its width, a tenth aside."""
    model = net("linear", widths=(4,), code=4)
    rows = structured(model.features)
    choice = {"name": "stacked_denoising", "epochs": 60, "learning_rate": 0.01}
    pretrained(model, rows, **choice, corruption={"name": "gaussian", "std": 1e-4})
    spectrum = torch.linalg.svdvals(rows - rows.mean(dim=0)).square() / len(rows)
    assert float(spectrum[4:].sum()) < error(model, rows) < 1.1 * float(spectrum[4:].sum())
