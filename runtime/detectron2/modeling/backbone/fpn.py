"""Feature pyramid network (arXiv:1612.03144)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm

from .._lookup import select_features
from .backbone import Backbone, channels_last_inside
from .build import BACKBONE_REGISTRY
from .resnet import build_resnet_backbone

__all__ = ["FPN", "LastLevelMaxPool", "build_resnet_fpn_backbone"]


class FPN(Backbone):
    """Maps ``p2``, ``p3``, ... of equal channels, each with what the coarser ones know."""

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: str = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ) -> None:
        """Adds a lateral and an output convolution for each map of ``bottom_up``.

        Args:
            bottom_up: the network below.
            in_features: names of its maps, fine to coarse, each of twice the stride before.
            out_channels: channels of all outputs.
            norm: what ``get_norm`` takes, for all convolutions.
            top_block: makes ``top_block.num_levels`` coarser maps, as a list, from the map
                ``top_block.in_feature`` of the pyramid or of ``bottom_up``.
            fuse_type: lateral and coarser map are added (``sum``) or averaged (``avg``).
            square_pad: inputs are to be padded to squares of this side; 0 for no such constraint.
        """
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"FUSE_TYPE = {fuse_type!r} must be 'sum' or 'avg'.")
        shapes = select_features(bottom_up.output_shape(), in_features, "MODEL.FPN.IN_FEATURES")
        strides = [shape.stride for shape in shapes if shape.stride is not None]
        self._levels = _pyramid_levels(in_features, strides)
        for level, shape in zip(self._levels, shapes, strict=True):
            assert shape.channels is not None, "the maps' channels must be known"
            lateral = _conv(shape.channels, out_channels, 1, norm)
            output = _conv(out_channels, out_channels, 3, norm)
            c2_xavier_fill(lateral)
            c2_xavier_fill(output)
            self.add_module(f"fpn_lateral{level}", lateral)
            self.add_module(f"fpn_output{level}", output)
        if top_block is not None:
            known = [*bottom_up.output_shape(), *(f"p{level}" for level in self._levels)]
            if top_block.in_feature not in known:
                raise ValueError(
                    f"The top block reads {top_block.in_feature!r}; there are only {known}."
                )
        self.top_block = top_block
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)

        self._out_feature_strides = {f"p{level}": 2**level for level in self._levels}
        if top_block is not None:
            for level in range(self._levels[-1] + 1, self._levels[-1] + 1 + top_block.num_levels):
                self._out_feature_strides[f"p{level}"] = 2**level
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        self._size_divisibility = strides[-1]
        self._square_pad = square_pad
        self._fuse_type = fuse_type

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest map of ``bottom_up`` that is used."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """The side of the squares to pad to; 0 for none."""
        return {"square_size": self._square_pad}

    @channels_last_inside
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps ``p<level>`` of shape (N, out_channels, H / 2**level, W / 2**level).

        Args:
            x: (N, C, H, W) images, whose sides are multiples of ``size_divisibility``.
        """
        bottom_up = self.bottom_up(x)
        outputs: dict[str, Tensor] = {}
        merged = None
        for level, name in zip(reversed(self._levels), reversed(self.in_features), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(bottom_up[name])
            if merged is not None:
                lateral = lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
                if self._fuse_type == "avg":
                    lateral = lateral / 2
            merged = lateral
            outputs[f"p{level}"] = getattr(self, f"fpn_output{level}")(merged)
        outputs = dict(reversed(outputs.items()))
        if self.top_block is not None:
            source = self.top_block.in_feature
            top = self.top_block(bottom_up[source] if source in bottom_up else outputs[source])
            outputs.update(zip(self._out_features[len(outputs) :], top, strict=True))
        return outputs


class LastLevelMaxPool(nn.Module):
    """Makes ``p6`` from ``p5`` by taking every other pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.num_levels = 1
        self.in_feature = "p5"

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) to one map of half the size, rounded up."""
        return [F.max_pool2d(x, kernel_size=1, stride=2, padding=0)]


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """A ``FPN`` as ``cfg.MODEL.FPN`` describes it, with ``p6`` on top, over a ``ResNet``."""
    node = cfg.MODEL.FPN
    return FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=node.FUSE_TYPE,
    )


def _pyramid_levels(names: Sequence[str], strides: list[int]) -> list[int]:
    """The levels, log2 of the strides, which must ascend by one."""
    if not names:
        raise ValueError("MODEL.FPN.IN_FEATURES is empty; a pyramid needs a feature map or more.")
    first = int(math.log2(strides[0]))
    levels = list(range(first, first + len(strides)))
    if strides != [2**level for level in levels]:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES = {list(names)} have the strides {strides}; each must be a "
            "power of 2 and twice the one before."
        )
    return levels


def _conv(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    """A convolution that keeps the size, with a bias only where there is no norm layer."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )
