"""Blocks that networks are stacked from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from detectron2.layers.batch_norm import FrozenBatchNorm2d, get_norm
from detectron2.layers.wrappers import Conv2d

Norm = str | Callable[[int], nn.Module] | None


class CNNBlockBase(nn.Module):
    """A block of a backbone: (N, in_channels, H, W) to (N, out_channels, H, W) over ``stride``."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Keeps the three numbers for the network that stacks the blocks."""
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> CNNBlockBase:
        """Stops the training of the block: no gradients, batch statistics fixed. Gives itself."""
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self


class DepthwiseSeparableConv2d(nn.Module):
    """A kxk convolution within each channel, then a 1x1 across channels (arXiv:1610.02357)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        dilation: int = 1,
        *,
        norm1: Norm = None,
        activation1: Callable[[Tensor], Tensor] | None = None,
        norm2: Norm = None,
        activation2: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """``norm1`` and ``activation1`` follow the depthwise, the others the 1x1 convolution."""
        super().__init__()
        from fvcore.nn.weight_init import c2_msra_fill

        shape: dict[str, Any] = {
            "kernel_size": kernel_size,
            "padding": padding,
            "dilation": dilation,
            "groups": in_channels,
        }
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            **shape,
            bias=not norm1,
            norm=get_norm(norm1, in_channels),
            activation=activation1,
        )
        self.pointwise = Conv2d(
            in_channels,
            out_channels,
            kernel_size=1,
            bias=not norm2,
            norm=get_norm(norm2, out_channels),
            activation=activation2,
        )
        c2_msra_fill(self.depthwise)
        c2_msra_fill(self.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W')."""
        return self.pointwise(self.depthwise(x))
