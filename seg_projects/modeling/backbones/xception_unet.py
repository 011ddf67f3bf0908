"""The contracting path of the Xception-style U-Net: separable convolutions, residual connections.

The network is the U-Net-like one of Keras's example "Image segmentation with a U-Net-like
architecture", whose blocks are those of Xception (arXiv:1610.02357).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from seg_projects.errors import UserError
from seg_projects.modeling.backbones.freezing import freeze_levels
from seg_projects.modeling.backbones.memory_format import for_convolutions
from seg_projects.modeling.semantic_heads.base import check_norm, conv_block


class XceptionUNetBackbone(Backbone):
    """A convolution of stride 2, then residual blocks of two separable convolutions, of stride 2.

    Sizes are rounded up: an image may have any. Level i is the feature map ``down<i>``, of stride
    2^i, from ``down1`` on.
    """

    def __init__(
        self, in_channels: int, *, channels: Sequence[int], norm: str, freeze_at: int = 0
    ) -> None:
        """Builds the levels.

        Args:
            in_channels: of the image.
            channels: of the first convolution and of each block.
            norm: normalisation of the convolutions, as ``get_norm`` takes it; "" for none.
            freeze_at: 1 stops the first convolution from learning, 2 the first block too, ...

        Raises:
            UserError: there is no block, or ``norm`` does not fit the channels.
        """
        super().__init__()
        if len(channels) < 2:
            raise UserError(
                f"MODEL.XCEPTION_UNET.CHANNELS is {list(channels)}: it needs two levels or more."
            )
        stem = conv_block(in_channels, channels[0], norm=norm, stride=2)
        blocks = (SeparableBlock(before, after, norm=norm) for before, after in pairwise(channels))
        self.levels = nn.ModuleList([stem, *blocks])
        freeze_levels(self.levels, freeze_at)
        # What Backbone.output_shape reads.
        self._out_features = [f"down{level}" for level in range(1, len(channels) + 1)]
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._out_feature_strides = {name: 2**i for i, name in enumerate(self._out_features, 1)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) images to ``down<i>``, (N, channels[i - 1], ceil(H / 2^i), ...)."""
        features: dict[str, Tensor] = {}
        x = for_convolutions(x)
        for name, level in zip(self._out_features, self.levels, strict=True):
            x = level(x)
            features[name] = x
        return features


class SeparableBlock(nn.Module):
    """Two separable 3x3 convolutions and a pooling beside a 1x1 convolution, each of stride 2."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.ReLU(),
            *_separable_conv(in_channels, out_channels, norm),
            nn.ReLU(),
            *_separable_conv(out_channels, out_channels, norm),
        )
        self.residual = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / 2), ceil(W / 2))."""
        pooled = F.max_pool2d(self.convs(x), kernel_size=3, stride=2, padding=1)
        return pooled + self.residual(x)


def _separable_conv(in_channels: int, out_channels: int, norm: str) -> tuple[nn.Module, nn.Module]:
    """A 3x3 convolution of each channel by itself, then a 1x1 one of all, normalised."""
    check_norm(norm, out_channels)
    depthwise = nn.Conv2d(
        in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels, bias=False
    )
    pointwise = Conv2d(
        in_channels, out_channels, kernel_size=1, bias=not norm, norm=get_norm(norm, out_channels)
    )
    return depthwise, pointwise


@BACKBONE_REGISTRY.register()
def build_xception_unet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> XceptionUNetBackbone:
    """``MODEL.XCEPTION_UNET`` as a backbone, frozen up to ``MODEL.BACKBONE.FREEZE_AT``."""
    assert input_shape.channels is not None
    node = cfg.MODEL.XCEPTION_UNET
    return XceptionUNetBackbone(
        input_shape.channels,
        channels=node.CHANNELS,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
