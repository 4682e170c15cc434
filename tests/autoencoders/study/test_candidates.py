"""The candidates for `auto`: on every net there are some, each may begin it, and none is known to fail."""

from __future__ import annotations

import pytest

from autoencoders.init import InitChoice, inits
from autoencoders.study.candidates import candidates
from tests.autoencoders.init.nets import NETS, net


def found(name: str, rows: int = 1000, **options: object) -> list[InitChoice]:
    return candidates(inits.choose("auto", **options), net(name), rows)


@pytest.mark.parametrize("name", NETS)
def test_every_net_has_enough_of_them_for_a_race(name: str) -> None:
    choices = found(name)
    assert len(choices) >= 3
    assert len({choice.model_dump_json() for choice in choices}) == len(choices)
    assert not any(choice.problems(net(name)) for choice in choices)
    assert not any(inits[choice.name].traits["warning"] for choice in choices)


def test_behind_sigmoid_units_plain_random_weights_are_none() -> None:
    words = {choice.name for choice in found("sigmoid")}
    assert "rbm_stack" in words
    assert not {"he_normal", "he_uniform", "glorot_normal", "glorot_uniform"} & words


def test_residual_nets_and_sparse_codes_have_their_own() -> None:
    assert {"zero_branch", "depth_scaled", "fixup"} <= {choice.name for choice in found("residual")}
    assert "sparse_dictionary" in {choice.name for choice in found("top k")}


def test_the_more_rows_the_fewer_epochs_of_pretraining() -> None:
    def epochs(rows: int) -> int:
        (stack,) = (choice for choice in found("sigmoid", rows) if choice.name == "rbm_stack")
        return int(stack.parameters()["epochs"])

    assert [epochs(rows) for rows in (1000, 60_000, 10_000_000)] == [10, 2, 1]


@pytest.mark.parametrize(("epochs", "expected"), [(100, 10), (24, 4), (5, 1), (4, 1), (3, None), (1, None)])
def test_where_they_share_epochs_a_pretraining_leaves_half_to_the_training(
    epochs: int, expected: int | None
) -> None:
    # A stack of three machines: one epoch of each is three passes over the rows.
    model = net("sigmoid")
    choices = candidates(inits.choose("auto"), model, 1000, epochs=epochs)
    stacks = [choice for choice in choices if choice.name == "rbm_stack"]
    assert [choice.parameters()["epochs"] for choice in stacks] == ([] if expected is None else [expected])
    assert all(choice.passes(model, model.layers(), 1000) <= epochs - 1 for choice in stacks)
    others = [choice for choice in found("sigmoid") if choice.name != "rbm_stack"]
    assert [choice for choice in choices if choice.name != "rbm_stack"] == others


def test_what_auto_is_told_of_biases_holds_for_every_candidate() -> None:
    assert {choice.output_bias for choice in found("wide")} == {"zero", "mean"}
    told = found("wide", output_bias="mean", centre=True)
    assert {(choice.output_bias, choice.centre) for choice in told} == {("mean", True)}
