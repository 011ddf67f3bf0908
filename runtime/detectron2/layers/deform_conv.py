"""Deformable convolutions: kernels whose taps move by learned offsets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Pair = int | tuple[int, int]


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class DeformConv(nn.Module):
    """A convolution whose taps are shifted by given offsets (arXiv:1703.06211)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Takes the arguments of ``nn.Conv2d``; ``norm`` and ``activation`` follow it.

        ``deformable_groups`` is the number of channel groups with offsets of their own.
        """
        super().__init__()
        assert not bias, "DeformConv has no bias; ModulatedDeformConv may have one."
        _init_convolution(self, in_channels, out_channels, kernel_size, groups)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.deformable_groups = deformable_groups
        self.bias = None  # what initialises convolutions looks for it
        self.norm = norm
        self.activation = activation

    weight: nn.Parameter

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolves with moved taps.

        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * deformable_groups * kh * kw, H', W') shifts (y, x) of each tap, in
                pixels, at the size of the result.
        """
        return _deformed(self, x, offset, None, None)

    def extra_repr(self) -> str:
        """The shape of the convolution."""
        return _shape_repr(self, bias=False)


class ModulatedDeformConv(nn.Module):
    """A deformable convolution that also weights its taps (arXiv:1811.11168)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Takes the arguments of ``DeformConv``, and may have a bias."""
        super().__init__()
        _init_convolution(self, in_channels, out_channels, kernel_size, groups)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.deformable_groups = deformable_groups
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.norm = norm
        self.activation = activation

    weight: nn.Parameter

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolves with moved and weighted taps.

        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * deformable_groups * kh * kw, H', W') shifts (y, x) of each tap.
            mask: (N, deformable_groups * kh * kw, H', W') weights of the taps, usually in [0, 1].
        """
        return _deformed(self, x, offset, mask, self.bias)

    def extra_repr(self) -> str:
        """The shape of the convolution."""
        return _shape_repr(self, bias=self.bias is not None)


def _init_convolution(
    layer: nn.Module, in_channels: int, out_channels: int, kernel_size: Pair, groups: int
) -> None:
    assert in_channels % groups == 0, f"{in_channels} input channels in {groups} groups?"
    assert out_channels % groups == 0, f"{out_channels} output channels in {groups} groups?"
    layer.in_channels = in_channels
    layer.out_channels = out_channels
    layer.kernel_size = _pair(kernel_size)
    layer.groups = groups
    weight = torch.empty(out_channels, in_channels // groups, *_pair(kernel_size))
    layer.weight = nn.Parameter(nn.init.kaiming_uniform_(weight, nonlinearity="relu"))


def _deformed(
    layer: nn.Module, x: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> Tensor:
    from torchvision.ops import deform_conv2d

    dtype, device = x.dtype, x.device.type
    if torch.is_autocast_enabled(device):
        # Half precision would shift the taps, and on a CPU torchvision has no kernel for it.
        x, offset, mask = x.float(), offset.float(), None if mask is None else mask.float()
    with torch.autocast(device, enabled=False):
        x = deform_conv2d(
            x,
            offset,
            layer.weight,
            bias,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            mask=mask,
        ).to(dtype)
    if layer.norm is not None:
        x = layer.norm(x)
    return x if layer.activation is None else layer.activation(x)


def _shape_repr(layer: nn.Module, *, bias: bool) -> str:
    return (
        f"in_channels={layer.in_channels}, out_channels={layer.out_channels}, "
        f"kernel_size={layer.kernel_size}, stride={layer.stride}, padding={layer.padding}, "
        f"dilation={layer.dilation}, groups={layer.groups}, "
        f"deformable_groups={layer.deformable_groups}, bias={bias}"
    )
