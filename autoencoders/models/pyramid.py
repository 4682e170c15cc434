"""An image on its way down and back: its size at every stage, and the convolutions between the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from autoencoders.data.manifest import image_shape
from autoencoders.errors import SpecRefused
from autoencoders.layers.layer import Fans

STRIDE = 2

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True)
class Stage:
    """The image at one height of the pyramid."""

    channels: int
    height: int
    width: int

    @property
    def positions(self) -> int:
        """Its pixels."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (self.channels, self.height, self.width)

    @property
    def features(self) -> int:
        """The numbers in it."""
        return self.channels * self.positions


class Pyramid:
    """The stages of an image and the strided convolutions between them.

    Going down, `n` pixels become `floor((n + 2 padding - kernel) / 2) + 1`; what the division drops is the
    output padding on the way up, so that every size is met exactly.

    Args:
        word: the architecture that asks, for its refusals.
        shape: of one row.
        channels: of every stage below the image.
        kernel: pixels on a side.

    Raises:
        SpecRefused: rows are no images, or too small for so many stages.
    """

    def __init__(self, word: str, shape: tuple[int, ...], channels: Sequence[int], kernel: int) -> None:
        image = image_shape(shape)
        if image is None:
            wanted = "[height, width], or [channels, height, width] with 1, 3 or 4 channels"
            said = f"{word} needs rows that are images, {wanted}; these are {list(shape)}"
            raise SpecRefused([(("architecture",), said)])
        self.kernel, self.padding = kernel, (kernel - 1) // 2
        self.stages = [Stage(*image)]
        for count in channels:
            above = self.stages[-1]
            below = Stage(count, self._below(above.height), self._below(above.width))
            if below.positions < 1 or below.positions == above.positions:
                raise SpecRefused([(("architecture", "channels"), self._too_small(len(channels)))])
            self.stages.append(below)

    @property
    def image(self) -> Stage:
        """The row itself."""
        return self.stages[0]

    @property
    def top(self) -> Stage:
        """The smallest stage, which the code reads."""
        return self.stages[-1]

    def down(self, stage: int) -> tuple[nn.Conv2d, Fans, tuple[int, int]]:
        """The map from a stage to the next smaller one, its fans and positions."""
        wide, narrow = self.stages[stage], self.stages[stage + 1]
        made = nn.Conv2d(
            wide.channels, narrow.channels, self.kernel, STRIDE, self.padding, device=torch.device("meta")
        )
        return _blank(made), self._fans(wide, narrow), (wide.positions, narrow.positions)

    def up(self, stage: int) -> tuple[nn.ConvTranspose2d, Fans, tuple[int, int]]:
        """The map from a stage to the next larger one, the adjoint's shape of `down(stage - 1)`."""
        narrow, wide = self.stages[stage], self.stages[stage - 1]
        dropped = (self._dropped(wide.height), self._dropped(wide.width))
        made = nn.ConvTranspose2d(
            narrow.channels,
            wide.channels,
            self.kernel,
            STRIDE,
            self.padding,
            output_padding=dropped,
            device=torch.device("meta"),
        )
        down = self._fans(wide, narrow)
        return _blank(made), Fans(down.fan_out, down.fan_in), (narrow.positions, wide.positions)

    def _fans(self, wide: Stage, narrow: Stage) -> Fans:
        # Each pixel below reads kernel^2 above; each above is read by kernel^2 / stride^2 below.
        area = self.kernel**2
        return Fans(wide.channels * area, narrow.channels * area / STRIDE**2)

    def _below(self, pixels: int) -> int:
        return (pixels + 2 * self.padding - self.kernel) // STRIDE + 1

    def _dropped(self, pixels: int) -> int:
        return (pixels + 2 * self.padding - self.kernel) % STRIDE

    def _too_small(self, asked: int) -> str:
        image, top = self.image, self.top
        fitting = len(self.stages) - 1
        fits = f"{fitting} would fit" if fitting else "no stage fits"
        return (
            f"images of {image.height}x{image.width} are too small for {asked} stages with kernel "
            f"{self.kernel}: they shrink to {top.height}x{top.width} in {fitting}; {fits}"
        )


def same_size(channels: int, *, mirrored: bool, kernel: int = 3) -> nn.Conv2d | nn.ConvTranspose2d:
    """A convolution of an odd kernel between images of one size; `mirrored` makes it a transposed one.

    Either could be written as the other with its kernel turned around; so the mirror is the adjoint for the
    same weight, as it is for the maps between sizes.
    """
    meta = torch.device("meta")
    if mirrored:
        return _blank(nn.ConvTranspose2d(channels, channels, kernel, padding=kernel // 2, device=meta))
    return _blank(nn.Conv2d(channels, channels, kernel, padding=kernel // 2, device=meta))


def same_size_fans(channels: int, kernel: int = 3) -> Fans:
    """Its fans."""
    return Fans(channels * kernel**2, channels * kernel**2)


def _blank(module: Convolution) -> Convolution:
    """The convolution with weights of zeros: what it starts from is an init's affair."""
    made = module.to_empty(device=torch.get_default_device())
    with torch.no_grad():
        made.weight.zero_()
        assert made.bias is not None, "every convolution here is made with a bias"
        made.bias.zero_()
    return made
