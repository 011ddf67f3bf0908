"""What every backbone offers to the heads on top of it."""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.layers.memory_format import for_convolutions

__all__ = ["Backbone"]

AnyBackbone = TypeVar("AnyBackbone", bound="Backbone")
Forward = Callable[[AnyBackbone, Tensor], dict[str, Tensor]]


class Backbone(nn.Module, metaclass=ABCMeta):
    """Turns a batch of images into named feature maps.

    A subclass sets ``_out_features``, the names of its outputs, and ``_out_feature_channels`` and
    ``_out_feature_strides``, dicts by these names; or it overrides ``output_shape``.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    def __init__(self) -> None:
        super().__init__()

    if TYPE_CHECKING:
        forward: Callable[..., Any]  # subclasses choose their arguments
    else:

        @abstractmethod
        def forward(self) -> dict[str, Tensor]:
            """Gives the (N, C, H, W) feature maps by name; a subclass takes the images."""

    @property
    def size_divisibility(self) -> int:
        """Heights and widths of the input must be multiples of this, if it is positive."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """How inputs must be padded: ``size_divisibility`` and ``square_size``, if present."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


def channels_last_inside(forward: Forward[AnyBackbone]) -> Forward[AnyBackbone]:
    """Runs a backbone's ``forward`` on channels-last memory where that is faster, on the CPU.

    The maps have the memory format of the images: whoever gives contiguous images gets contiguous
    maps. A backbone that gets channels-last images, from the backbone around it, keeps the format.
    """

    @functools.wraps(forward)
    def reordered(self: AnyBackbone, x: Tensor) -> dict[str, Tensor]:
        images = for_convolutions(x)
        maps = forward(self, images)
        if images is x:
            return maps
        return {name: map_.contiguous() for name, map_ in maps.items()}

    return reordered
