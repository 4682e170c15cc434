"""How weights move and how fast, by two catalogs: optimizers and schedules."""

from autoencoders.optim.optimizers import optimizers, rate_of, set_rate
from autoencoders.optim.schedules import Schedule, schedules

__all__ = ["Schedule", "optimizers", "rate_of", "schedules", "set_rate"]
