"""The ResNets of DeepLab: a stem of three 3x3 convolutions, dilated last stages, multi-grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import (
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    ResNet,
)
from seg_projects.errors import UserError

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BASIC_DEPTHS = (18, 34)  # of blocks of two 3x3 convolutions
STEMS = ("basic", "deeplab")


class DeepLabStem(CNNBlockBase):
    """Three 3x3 convolutions in place of one 7x7, then pooling: to a quarter of the size."""

    def __init__(self, in_channels: int = 3, out_channels: int = 128, norm: str = "BN") -> None:
        """The first two convolutions have half of ``out_channels``."""
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        self.conv1 = _conv3x3(in_channels, half, norm, stride=2)
        self.conv2 = _conv3x3(half, half, norm)
        self.conv3 = _conv3x3(half, out_channels, norm)
        # After all are made, as in Detectron2's DeepLab: a seed gives the same weights there.
        for conv in (self.conv1, self.conv2, self.conv3):
            c2_msra_fill(conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / 4, W / 4)."""
        x = self.conv3(self.conv2(self.conv1(x)))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def _conv3x3(
    in_channels: int,
    out_channels: int,
    norm: str,
    *,
    stride: int = 1,
    dilation: int = 1,
    activation: Callable[[Tensor], Tensor] | None = F.relu_,
) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        bias=False,
        norm=get_norm(norm, out_channels),
        activation=activation,
    )


class DilatedBasicBlock(CNNBlockBase):
    """Detectron2's ``BasicBlock``, the one of ResNet-18 and ResNet-34, with a dilation."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, norm: str, dilation: int
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.conv1 = _conv3x3(in_channels, out_channels, norm, stride=stride, dilation=dilation)
        # ReLU follows the sum.
        self.conv2 = _conv3x3(out_channels, out_channels, norm, dilation=dilation, activation=None)
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = Conv2d(
                in_channels,
                out_channels,
                kernel_size=1,
                stride=stride,
                bias=False,
                norm=get_norm(norm, out_channels),
            )
        for conv in (self.conv1, self.conv2, self.shortcut):
            if conv is not None:
                c2_msra_fill(conv)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)."""
        residual = self.conv2(self.conv1(x))
        residual += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(residual)


def build_resnet_deeplab_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """``MODEL.RESNETS`` under the name of Detectron2's DeepLab, where that is absent."""
    assert input_shape.channels is not None, "the input's channels must be known"
    return make_dilated_resnet(cfg, input_shape.channels, cfg.MODEL.RESNETS.OUT_FEATURES)


@BACKBONE_REGISTRY.register()
def build_dilated_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """``MODEL.RESNETS``, of 18 to 152 layers, under a name that is ours everywhere."""
    assert input_shape.channels is not None, "the input's channels must be known"
    return make_dilated_resnet(cfg, input_shape.channels, cfg.MODEL.RESNETS.OUT_FEATURES)


def make_dilated_resnet(cfg: CfgNode, in_channels: int, out_features: Sequence[str]) -> ResNet:
    """A ``ResNet`` as ``cfg.MODEL.RESNETS`` describes it, of output stride 8, 16 or 32.

    Raises:
        UserError: depth, stem or dilations are none of those there are.
    """
    node = cfg.MODEL.RESNETS
    _check(node)
    stem_class = BasicStem if node.STEM_TYPE == "basic" else DeepLabStem
    stem = stem_class(in_channels, node.STEM_OUT_CHANNELS, norm=node.NORM)
    channels = node.STEM_OUT_CHANNELS
    stages = []
    # A stage of dilation d goes on at the resolution of the one before it.
    dilations = (1, 1, node.RES4_DILATION, node.RES5_DILATION)
    for index, (count, dilation) in enumerate(
        zip(BLOCKS_PER_STAGE[node.DEPTH], dilations, strict=True)
    ):
        stride = 1 if index == 0 or dilation > 1 else 2
        grid = node.RES5_MULTI_GRID if index == 3 else [1] * count
        block_class, options = _block(node, index)
        out_channels = node.RES2_OUT_CHANNELS * 2**index
        stages.append(
            ResNet.make_stage(
                block_class,
                count,
                in_channels=channels,
                out_channels=out_channels,
                stride_per_block=[stride] + [1] * (count - 1),
                dilation_per_block=[dilation * factor for factor in grid],
                norm=node.NORM,
                **options,
            )
        )
        channels = out_channels
    resnet = ResNet(stem, stages, out_features=list(out_features))
    return resnet.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)


def _block(node: CfgNode, index: int) -> tuple[type[CNNBlockBase], dict[str, Any]]:
    """The class of the blocks of stage ``index`` and what it takes beside channels and strides."""
    if node.DEPTH in BASIC_DEPTHS:
        return DilatedBasicBlock, {}
    options = {
        "bottleneck_channels": node.NUM_GROUPS * node.WIDTH_PER_GROUP * 2**index,
        "num_groups": node.NUM_GROUPS,
        "stride_in_1x1": node.STRIDE_IN_1X1,
    }
    if not node.DEFORM_ON_PER_STAGE[index]:
        return BottleneckBlock, options
    return DeformBottleneckBlock, options | {
        "deform_modulated": node.DEFORM_MODULATED,
        "deform_num_groups": node.DEFORM_NUM_GROUPS,
    }


def _check(node: CfgNode) -> None:
    """Raises UserError where ``MODEL.RESNETS`` asks for a network that there is not."""
    if node.DEPTH not in BLOCKS_PER_STAGE:
        known = list(BLOCKS_PER_STAGE)
        raise UserError(f"MODEL.RESNETS.DEPTH is {node.DEPTH}; a DeepLab ResNet has {known}.")
    if node.STEM_TYPE not in STEMS:
        raise UserError(f"MODEL.RESNETS.STEM_TYPE is {node.STEM_TYPE!r}; known: {STEMS}.")
    if (node.RES4_DILATION, node.RES5_DILATION) not in {(1, 1), (1, 2), (1, 4), (2, 4)}:
        raise UserError(
            f"MODEL.RESNETS.RES4_DILATION {node.RES4_DILATION} with RES5_DILATION "
            f"{node.RES5_DILATION}: use 1 and 1 for the output stride 32, 1 and 2 for 16, 2 and 4 "
            "for 8."
        )
    if node.DEPTH in BASIC_DEPTHS and any(node.DEFORM_ON_PER_STAGE):
        raise UserError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE is for 50 layers or more, not {node.DEPTH}."
        )
    blocks = BLOCKS_PER_STAGE[node.DEPTH][3]
    if len(node.RES5_MULTI_GRID) != blocks:
        raise UserError(
            f"MODEL.RESNETS.RES5_MULTI_GRID is {node.RES5_MULTI_GRID}; res5 of DEPTH {node.DEPTH} "
            f"has {blocks} blocks."
        )
