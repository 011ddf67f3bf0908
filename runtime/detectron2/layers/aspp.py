"""Atrous spatial pyramid pooling (arXiv:1706.05587, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.layers.batch_norm import get_norm
from detectron2.layers.blocks import DepthwiseSeparableConv2d, Norm
from detectron2.layers.wrappers import Conv2d

Activation = Callable[[Tensor], Tensor] | None


class ASPP(nn.Module):
    """Looks at a feature map at five scales at once, and projects them to one map."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        *,
        norm: Norm,
        activation: Activation,
        pool_kernel_size: tuple[int, int] | None = None,
        dropout: float = 0.0,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        """Builds the branches: 1x1, three dilated 3x3, pooling.

        Args:
            in_channels: channels of the input.
            out_channels: channels of each branch and of the result.
            dilations: those of the three 3x3 convolutions.
            norm: as of ``get_norm``; the pooled branch has none, since batch statistics of one
                pixel per image are too few.
            activation: after each convolution, in a copy of its own.
            pool_kernel_size: (height, width) of the average pooling; None pools the whole map.
            dropout: probability, after the projection.
            use_depthwise_separable_conv: the 3x3 convolutions are depthwise separable.
        """
        super().__init__()
        assert len(dilations) == 3, f"ASPP has three dilations, not {list(dilations)}."
        from fvcore.nn.weight_init import c2_xavier_fill

        self.pool_kernel_size = pool_kernel_size
        self.dropout = dropout

        def conv(channels: int, kernel_size: int, dilation: int = 1) -> Conv2d:
            layer = Conv2d(
                channels,
                out_channels,
                kernel_size=kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=not norm,
                norm=get_norm(norm, out_channels),
                activation=deepcopy(activation),
            )
            c2_xavier_fill(layer)
            return layer

        def separable(dilation: int) -> DepthwiseSeparableConv2d:
            return DepthwiseSeparableConv2d(
                in_channels,
                out_channels,
                padding=dilation,
                dilation=dilation,
                norm1=norm,
                activation1=deepcopy(activation),
                norm2=norm,
                activation2=deepcopy(activation),
            )

        self.convs = nn.ModuleList([conv(in_channels, 1)])
        for dilation in dilations:
            wide = use_depthwise_separable_conv
            self.convs.append(separable(dilation) if wide else conv(in_channels, 3, dilation))
        pooled = Conv2d(in_channels, out_channels, 1, activation=deepcopy(activation))
        c2_xavier_fill(pooled)
        self.convs.append(nn.Sequential(_pooling(pool_kernel_size), pooled))
        self.project = conv(5 * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        size = x.shape[-2:]
        if self.pool_kernel_size is not None:
            kernel = self.pool_kernel_size
            if size[0] % kernel[0] or size[1] % kernel[1]:
                raise ValueError(
                    f"a feature map of {tuple(size)} is no multiple of pool_kernel_size={kernel}; "
                    "change the crop size, or pool the whole map with None."
                )
        branches = [branch(x) for branch in self.convs]
        branches[-1] = F.interpolate(branches[-1], size, mode="bilinear", align_corners=False)
        x = self.project(torch.cat(branches, dim=1))
        return F.dropout(x, self.dropout, training=self.training) if self.dropout > 0 else x


def _pooling(kernel_size: tuple[int, int] | None) -> nn.Module:
    if kernel_size is None:
        return nn.AdaptiveAvgPool2d(1)
    return nn.AvgPool2d(kernel_size=kernel_size, stride=1)
