"""What layers are made of: activations, norms, and the mean-field theory of a wide random layer.

Importing this package imports every module in it: a file that defines a word is all that the word needs.
"""

from autoencoders.layers.activations import activations as _activations

_activations.discover(__name__, __path__)

__all__: list[str] = []
