"""What is minimised, by four catalogs: losses, corruptions, augmentations, penalties."""

from autoencoders.objective.augmentations import augmentations
from autoencoders.objective.corruptions import corruptions
from autoencoders.objective.losses import losses
from autoencoders.objective.objective import Objective, Pair, Terms
from autoencoders.objective.penalties import penalties

__all__ = ["Objective", "Pair", "Terms", "augmentations", "corruptions", "losses", "penalties"]
