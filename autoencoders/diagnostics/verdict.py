"""From measured figures to a forecast, its cause and a cure, in words with the figures in them.

Nothing is read but the figures of a diagnosis as it is answered: no word of any spec is among them, so that
renaming one changes nothing. The rule of the outlook stands in `outlook.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autoencoders.diagnostics.outlook import Expectation, Outlook, expect

ALIKE = 0.99
FLAT = 0.5
FAINT = 1e-3
SLOWER = "choose a learning rate a tenth as large, a longer warm-up, or training.clip_norm"


@dataclass(frozen=True)
class Verdict:
    """A forecast in words.

    Attributes:
        will_learn: whether the outlook is `learns`.
        outlook: `learns`, `slow`, `stuck` or `diverges`.
        cause: why, with the figures that say so.
        cure: what to change; None where nothing needs a cure.
        concern: what is wrong with the start, with its cure, though the job gets somewhere; None where
            nothing is, and where `cause` and `cure` speak of a job that does not.
        evidence: the figures that it rests on, by their names in the diagnosis; None where one was no number.
    """

    will_learn: bool
    outlook: Outlook
    cause: str
    cure: str | None
    concern: str | None
    evidence: dict[str, float | None]


def forecast(found: dict[str, Any]) -> Verdict:
    """The verdict on the figures of a diagnosis with a trial, as `Diagnosis.to_json` gives them."""
    expected = expect(found)
    cause, cure = _explain(found, expected)
    return Verdict(
        will_learn=expected.outlook == "learns",
        outlook=expected.outlook,
        cause=cause,
        cure=cure,
        concern=_concern(found, expected),
        evidence=_evidence(found, expected),
    )


def _evidence(found: dict[str, Any], expected: Expectation) -> dict[str, float | None]:
    layers, code, trial, rehearsal = found["layers"], found["code"], found["trial"], found["rehearsal"]
    return {
        "expected.closed": expected.closed,
        "expected.signal": expected.signal,
        "expected.excess": expected.excess,
        "trial.closed": trial["closed"],
        "trial.gain": trial["gains"][-1][1],
        "trial.steps": trial["steps"],
        "rehearsal.closed": rehearsal["closed"] if rehearsal else None,
        "rehearsal.steps": rehearsal["steps"] if rehearsal else None,
        "horizon": trial["horizon"],
        "code.correlation": code["correlation"],
        "code.active": code["active"],
        "code.effective_rank": code["effective_rank"],
        "code.after.effective_rank": code["after"]["effective_rank"],
        "saturated": _saturated(layers),
        "gradient_ratio": _gradient_ratio(layers),
    }


def _saturated(layers: list[dict[str, Any]]) -> float:
    """The mean share of saturated numbers over the layers that an activation follows."""
    hidden = [layer["saturated"] for layer in layers[:-1] if layer["part"] != "code"]
    return float(sum(hidden) / len(hidden)) if hidden else 0.0


def _gradient_ratio(layers: list[dict[str, Any]]) -> float:
    """The gradient at the first layer over that at the last: what is left after the way back."""
    first, last = layers[0]["gradient"] or 0.0, layers[-1]["gradient"] or 0.0
    return first / last if last > 0 else 0.0


Words = tuple[str, str | None]


def _explain(found: dict[str, Any], expected: Expectation) -> Words:
    if expected.outlook == "learns":
        return _healthy(found, expected), None
    for reason in (_broken, _dead_code, _collapsed, _saturation, _ordered, _exploding, _wild, _vanishing):
        if (words := reason(found, expected)) is not None:
            return words
    return _too_few_steps(found, expected)


def _concern(found: dict[str, Any], expected: Expectation) -> str | None:
    """Steps that go to undo the start are lost to the job, also where it can afford them."""
    if expected.outlook not in ("learns", "slow") or (words := _exploding(found, expected)) is None:
        return None
    return "; ".join(part for part in words if part)


Reason = Callable[[dict[str, Any], Expectation], Words | None]


def _healthy(found: dict[str, Any], expected: Expectation) -> str:
    code, trial = found["code"], found["trial"]
    return (
        f"rows get codes of their own (correlation {_number(code['correlation'])}, effective rank "
        f"{_number(code['effective_rank'])}), {trial['steps']} steps of a trial brought the gain to "
        f"{_number(trial['gains'][-1][1])}{_rehearsed(found, expected)}: about {expected.closed:.0%} of the "
        f"way to PCA's error should be closed at step {trial['horizon']}"
    )


def _rehearsed(found: dict[str, Any], expected: Expectation) -> str:
    if not expected.rehearsed:
        return ""
    rehearsal = found["rehearsal"]
    return f", and a rehearsal on {rehearsal['rows']} rows a step closed {_number(rehearsal['closed'])}"


def _broken(found: dict[str, Any], _: Expectation) -> Words | None:
    for name in ("trial", "rehearsal"):
        walked = found[name]
        if walked is not None and not walked["survived"]:
            return f"rate too large: the loss was no number at step {walked['steps']} of the {name}", SLOWER
    return None


def _dead_code(found: dict[str, Any], _: Expectation) -> Words | None:
    code, layers = found["code"], found["layers"]
    if code["active"] > 0:
        return None
    worst = max((layer for layer in layers if layer["part"] != "decoder"), key=lambda layer: layer["dead"])
    return (
        f"dead code: none of its units tells rows apart (variance {_number(code['variance'])}); "
        f"{worst['dead']:.0%} of the units of {worst['name']} are dead",
        "choose an init with weights that are not zero and biases near zero (lsuv, or the default with "
        "leaky_relu), so that every unit is alive for some rows",
    )


def _collapsed(found: dict[str, Any], _: Expectation) -> Words | None:
    before, after, trial = found["code"], found["code"]["after"], found["trial"]
    rank = after["effective_rank"]
    if (before["correlation"] or 0.0) > ALIKE or (rank is not None and rank > 2.0):
        return None
    if (trial["gains"][-1][1] or 0.0) > 0.01:
        return None
    return (
        f"rate too large: the trial's steps took the code's effective rank from "
        f"{_number(before['effective_rank'])} to {_number(rank)}, and its units died or went flat",
        SLOWER,
    )


def _saturation(found: dict[str, Any], _: Expectation) -> Words | None:
    layers = found["layers"]
    share = _saturated(layers)
    if share < FLAT or (found["trial"]["closed"] or 0.0) > 0.1:
        return None
    worst = max(layers[:-1], key=lambda layer: layer["saturated"])
    if (worst["variance"] or 0.0) < 4.0:
        return None
    return (
        f"saturated: {share:.0%} of the hidden numbers lie where their activation is flat (variance "
        f"{_number(worst['variance'])} before that of {worst['name']}), so that gradients do not pass",
        "choose weights that keep pre-activations near variance 1 (lsuv, glorot_normal), or standardise them "
        "with a norm",
    )


def _ordered(found: dict[str, Any], _: Expectation) -> Words | None:
    code, layers = found["code"], found["layers"]
    if (code["correlation"] or 0.0) < ALIKE or (code["input_correlation"] or 0.0) > ALIKE:
        return None
    return (
        f"ordered phase: all rows get the same code (correlation {code['correlation']:.6f}, though the rows' "
        f"own is {_number(code['input_correlation'])}); the gradient at {layers[0]['name']} is "
        f"{_number(_gradient_ratio(layers))} of the last layer's",
        "choose an init that keeps differences between rows (centred lsuv, pca_greedy, rbm_stack), an "
        "activation with mean zero, or a norm",
    )


def _exploding(found: dict[str, Any], _: Expectation) -> Words | None:
    layers, losses = found["layers"], found["losses"]
    start, mean = losses["start"], losses["mean"]
    out = layers[-1]["variance"]
    if out is not None and start is not None and out < 100.0 and start < 100.0 * mean:
        return None
    return (
        f"exploding: from {layers[0]['name']} to {layers[-1]['name']} the variance goes from "
        f"{_number(layers[0]['variance'])} to {_number(out)}, and the error at step 0 is {_number(start)}, "
        f"beside {_number(mean)} for the mean",
        "choose an init that keeps the variance from layer to layer (lsuv; he_normal where nothing is added "
        "up; where residual branches are, depth_scaled or zero_branch), or a norm",
    )


def _wild(found: dict[str, Any], expected: Expectation) -> Words | None:
    names = ["trial", "rehearsal"] if expected.rehearsed else ["trial"]
    errors = [error for name in names for _, error in found[name]["errors"] if error is not None]
    seen = expected.outlook == "diverges" or expected.rehearsed
    if not seen or errors[-1] <= 1.05 * min(errors):
        return None
    return (
        f"rate too large: the held-out error fell to {_number(min(errors))} in the "
        f"{' and the '.join(names)} and rose to {_number(errors[-1])} again",
        SLOWER,
    )


def _vanishing(found: dict[str, Any], _: Expectation) -> Words | None:
    layers = found["layers"]
    ratio = _gradient_ratio(layers)
    if ratio > FAINT:
        return None
    return (
        f"vanishing gradient: that at {layers[0]['name']} is {_number(ratio)} of that at "
        f"{layers[-1]['name']}",
        "choose an init at criticality (edge_of_chaos, orthogonal, lsuv), a norm, or residual blocks",
    )


def _too_few_steps(found: dict[str, Any], expected: Expectation) -> Words:
    trial, losses = found["trial"], found["losses"]
    return (
        f"too few or too small steps: in {trial['steps']} of them the held-out error went from "
        f"{_number(losses['start'])} to {_number(trial['errors'][-1][1])} (the mean's is "
        f"{_number(losses['mean'])}) and the gain to {_number(trial['gains'][-1][1])}"
        f"{_rehearsed(found, expected)}; about {_number(expected.closed)} of the way will be closed at step "
        f"{trial['horizon']}",
        "choose a larger learning rate, an adaptive optimizer (adam), more epochs, or output_bias mean",
    )


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:.3g}"
