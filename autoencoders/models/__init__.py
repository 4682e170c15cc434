"""The models: architectures and codes, from a choice of words to an `Autoencoder` with its layers in order.

Importing this package imports every module in it: a file that defines a word is all that the word needs.
"""

from autoencoders.models.architectures import architectures
from autoencoders.models.autoencoder import Autoencoder, Pass
from autoencoders.models.codes import codes

architectures.discover(__name__, __path__)

__all__ = ["Autoencoder", "Pass", "architectures", "codes"]
