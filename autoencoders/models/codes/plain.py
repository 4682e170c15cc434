"""The plain code."""

from __future__ import annotations

from autoencoders.models.codes.code import Code, Size, codes


@codes.word("plain", formula="z = W h + b", reference="Hinton and Salakhutdinov, 2006")
def plain(*, size: Size) -> Code:
    """A linear code."""
    return Code(size, size)
