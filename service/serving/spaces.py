"""Spaces: what the codes of a version may be compared with."""

from autoencoders.bundle import space_of

__all__ = ["space_of"]
