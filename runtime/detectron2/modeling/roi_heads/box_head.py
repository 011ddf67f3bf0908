"""Box heads: pooled region features to the vector that the box predictor reads."""

from __future__ import annotations

import math
from typing import Any

from fvcore.nn import weight_init
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry

from .._lookup import find_registered

__all__ = ["ROI_BOX_HEAD_REGISTRY", "FastRCNNConvFCHead", "build_box_head"]

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
ROI_BOX_HEAD_REGISTRY.__doc__ = """
Box heads: built as ``head(cfg, input_shape)``, they map (R, C, H, W) region features to features
for the predictor and tell their ``output_shape``.
"""


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """Some 3x3 convolutions, then some fully connected layers, each followed by ReLU."""

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: list[int],
        fc_dims: list[int],
        conv_norm: Any = "",
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: Channels, height and width of the region features.
            conv_dims: Output channels of each convolution.
            fc_dims: Output size of each fully connected layer.
            conv_norm: Normalisation of the convolutions, as ``get_norm`` takes it.
        """
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ValueError(
                "A box head needs layers: give conv_dims or fc_dims (NUM_CONV, NUM_FC)."
            )
        shape = (input_shape.channels or 0, input_shape.height or 1, input_shape.width or 1)
        for k, channels in enumerate(conv_dims, start=1):
            conv = Conv2d(
                shape[0],
                channels,
                kernel_size=3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, channels),
                activation=nn.ReLU(),
            )
            self.add_module(f"conv{k}", conv)
            shape = (channels, *shape[1:])
        features = math.prod(shape)
        for k, size in enumerate(fc_dims, start=1):
            if k == 1:
                self.add_module("flatten", nn.Flatten())
            fc = nn.Linear(features, size)
            self.add_module(f"fc{k}", fc)
            self.add_module(f"fc_relu{k}", nn.ReLU())
            features = size
        # All layers exist before the first is filled: the same random stream as Detectron2's.
        for layer in self.children():
            if isinstance(layer, Conv2d):
                weight_init.c2_msra_fill(layer)
            elif isinstance(layer, nn.Linear):
                weight_init.c2_xavier_fill(layer)
        self._output_shape = (
            ShapeSpec(channels=features)
            if fc_dims
            else ShapeSpec(channels=shape[0], height=shape[1], width=shape[2])
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Reads ``MODEL.ROI_BOX_HEAD``."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) region features to (R, D), or (R, C', H, W) without a linear layer."""
        for layer in self:
            x = layer(x)
        return x

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of the features of one region."""
        return self._output_shape


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The box head that ``MODEL.ROI_BOX_HEAD.NAME`` names."""
    head = find_registered(
        ROI_BOX_HEAD_REGISTRY, cfg.MODEL.ROI_BOX_HEAD.NAME, key="MODEL.ROI_BOX_HEAD.NAME"
    )
    return head(cfg, input_shape)
