"""The codes: a catalog whose words say what the bottleneck does with the features that reach it.

Importing this package imports every module in it: a file that defines a word is all that the word needs.
"""

from autoencoders.models.codes.code import Code, Size, codes

codes.discover(__name__, __path__)

__all__ = ["Code", "Size", "codes"]
