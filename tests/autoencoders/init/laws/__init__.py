"""What every word promises beyond what all share: each family's laws stand in a module of their own.

A module here says of its words what `test_every_init.py` needs to put them through every law:

    needs("normal", std=0.01)                    # the parameters with which the general laws try a word
    variant("he_normal", mode="fan_out")         # another choice that shall keep its own law
    without_chance("identity")                   # the seed changes nothing
    own_biases("torch_default")                  # the word sets biases itself

    @law("orthogonal", nets=ALL)                 # the invariant, on every net that the word is meant for
    def keeps_lengths(trial: Trial) -> None: ...

A word without a law fails.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoencoders.init import InitChoice, inits
from tests.autoencoders.init.trial import Trial

__all__ = ["LAWS", "Trial", "choose", "law", "needs", "own_biases", "variant", "without_chance"]


Check = Callable[[Trial], None]


@dataclass(frozen=True)
class Law:
    """What is true of some words on some nets (None: on every net that they are meant for)."""

    words: tuple[str, ...]
    nets: tuple[str, ...] | None
    check: Check


LAWS: list[Law] = []
NEEDED: dict[str, dict[str, Any]] = {}
VARIANTS: list[dict[str, Any]] = []
WITHOUT_CHANCE: set[str] = set()
OWN_BIASES: set[str] = set()


def law(*words: str, nets: Sequence[str] | None = None) -> Callable[[Check], Check]:
    """Register an invariant of words."""

    def register(check: Check) -> Check:
        LAWS.append(Law(words, None if nets is None else tuple(nets), check))
        return check

    return register


def needs(word: str, **parameters: Any) -> None:
    """The parameters with which the laws try a word: those that it requires, those that keep it quick."""
    NEEDED[word] = parameters


def variant(word: str, **parameters: Any) -> None:
    """Another choice of a word that shall keep its laws."""
    VARIANTS.append({"name": word, **parameters})


def without_chance(*words: str) -> None:
    """Words for which the seed changes nothing."""
    WITHOUT_CHANCE.update(words)


def own_biases(*words: str) -> None:
    """Words that set biases themselves."""
    OWN_BIASES.update(words)


def choose(word: str) -> InitChoice:
    """The choice with which the general laws try a word."""
    return inits.choose(word, **NEEDED.get(word, {}))


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
