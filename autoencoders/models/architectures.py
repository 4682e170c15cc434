"""The architectures' catalog."""

from __future__ import annotations

from collections.abc import Callable

from autoencoders.catalog import Catalog
from autoencoders.models.autoencoder import Autoencoder

architectures: Catalog[Callable[..., Autoencoder]] = Catalog("architectures")
"""Words `(shape, **parameters) -> Autoencoder`, where `shape` is that of one row.

A word that does not fit raises SpecRefused with locations in the spec. Its trait `defaults`, called with
the shape and its parameters, answers those that it chooses for that shape.
"""
