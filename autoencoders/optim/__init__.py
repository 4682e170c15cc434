"""How weights move and how fast, by two catalogs: optimizers and schedules.

Importing this package imports every module in it: a file that defines a word is all that the word needs.
"""

from autoencoders.optim.optimizers import NO_FACTORS, numbers_kept, optimizers, rate_of, set_rate
from autoencoders.optim.schedules import Schedule, schedules

optimizers.discover(__name__, __path__)

__all__ = ["NO_FACTORS", "Schedule", "numbers_kept", "optimizers", "rate_of", "schedules", "set_rate"]
