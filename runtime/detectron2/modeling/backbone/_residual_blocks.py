"""The blocks of residual networks (arXiv:1512.03385), grouped (1611.05431) or deformable.

Every block is a ``CNNBlockBase``: it knows its channels and its stride, and can be frozen.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from detectron2.layers import CNNBlockBase, Conv2d, DeformConv, ModulatedDeformConv, get_norm

__all__ = ["BasicBlock", "BasicStem", "BottleneckBlock", "DeformBottleneckBlock"]


class BasicStem(CNNBlockBase):
    """A 7x7 convolution and a max pooling, each of stride 2."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: str = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv_norm(in_channels, out_channels, 7, norm, stride=2)
        _fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, C', H / 4, W / 4) features."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class BasicBlock(CNNBlockBase):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and ResNet-34."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: str = "BN"
    ) -> None:
        """Makes the block; the first convolution takes the stride."""
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv_norm(out_channels, out_channels, 3, norm)
        _fill(self.conv1, self.conv2, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        residual = self.conv2(F.relu_(self.conv1(x)))
        residual += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(residual)


class BottleneckBlock(CNNBlockBase):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: the block of the deeper ResNets."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        """Makes the block.

        Args:
            in_channels: C of the input.
            out_channels: C of the output.
            bottleneck_channels: C within the block.
            stride: of the whole block.
            num_groups: groups of the 3x3 convolution.
            norm: what ``get_norm`` takes, for all convolutions.
            stride_in_1x1: the first 1x1 convolution takes the stride, not the 3x3 one; weights
                trained with Caffe2 need it.
            dilation: of the 3x3 convolution.
        """
        super().__init__(in_channels, out_channels, stride)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, width, 1, norm, stride=stride_1x1)
        self.conv2 = _conv_norm(
            width, width, 3, norm, stride=stride_3x3, dilation=dilation, groups=num_groups
        )
        self.conv3 = _conv_norm(width, out_channels, 1, norm)
        _fill(self.conv1, self.conv2, self.conv3, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        residual = F.relu_(self.conv1(x))
        residual = F.relu_(self.conv2(residual))
        residual = self.conv3(residual)
        residual += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(residual)


class DeformBottleneckBlock(CNNBlockBase):
    """A bottleneck block whose 3x3 convolution is deformable (arXiv:1703.06211, 1811.11168)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: str = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ) -> None:
        """Makes the block; it starts as a regular one, with all offsets 0.

        Args:
            in_channels: C of the input.
            out_channels: C of the output.
            bottleneck_channels: C within the block.
            stride: of the whole block.
            num_groups: groups of the 3x3 convolution.
            norm: what ``get_norm`` takes, for all convolutions but the offsets'.
            stride_in_1x1: the first 1x1 convolution takes the stride, not the 3x3 one.
            dilation: of the 3x3 convolution.
            deform_modulated: each sampled value is also weighted, in (0, 1) (version 2).
            deform_num_groups: groups of channels with offsets of their own.
        """
        super().__init__(in_channels, out_channels, stride)
        self.deform_modulated = deform_modulated
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        width = bottleneck_channels
        geometry: dict[str, Any] = {"stride": stride_3x3, "padding": dilation, "dilation": dilation}
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, width, 1, norm, stride=stride_1x1)
        # Two offsets for each of the 9 taps, and a weight where these are modulated.
        channels_per_group = 27 if deform_modulated else 18
        self.conv2_offset = Conv2d(
            width, channels_per_group * deform_num_groups, kernel_size=3, **geometry
        )
        conv_class = ModulatedDeformConv if deform_modulated else DeformConv
        self.conv2 = conv_class(
            width,
            width,
            kernel_size=3,
            bias=False,
            groups=num_groups,
            deformable_groups=deform_num_groups,
            norm=get_norm(norm, width),
            **geometry,
        )
        self.conv3 = _conv_norm(width, out_channels, 1, norm)
        _fill(self.conv1, self.conv2, self.conv3, self.shortcut)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        residual = F.relu_(self.conv1(x))
        offsets = self.conv2_offset(residual)
        if self.deform_modulated:
            # The first two thirds are offsets, in the layout of version 1; the rest are weights.
            first, second, weights = offsets.chunk(3, dim=1)
            offsets = torch.cat((first, second), dim=1)
            residual = self.conv2(residual, offsets, weights.sigmoid())
        else:
            residual = self.conv2(residual, offsets)
        residual = self.conv3(F.relu_(residual))
        residual += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(residual)


def _conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, norm: str, **kwargs: Any
) -> Conv2d:
    """A convolution without bias that keeps the size, up to the stride, and a norm layer."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kwargs.get("dilation", 1) * (kernel_size // 2),
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )


def _fill(*convs: nn.Module | None) -> None:
    """Draws the weights (arXiv:1502.01852), in an order that keeps Detectron2's random stream."""
    for conv in convs:
        if conv is not None:
            c2_msra_fill(conv)


def _projection(in_channels: int, out_channels: int, stride: int, norm: str) -> Conv2d | None:
    """The 1x1 convolution of a shortcut; ``None`` where the channels stay the same."""
    if in_channels != out_channels:
        return _conv_norm(in_channels, out_channels, 1, norm, stride=stride)
    if stride != 1:
        raise ValueError(
            f"A block of {in_channels} input and output channels has an identity shortcut, which "
            f"cannot have the stride {stride}; change the channels or the stride."
        )
    return None
