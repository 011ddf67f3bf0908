"""The contracting path of U-Net (arXiv:1505.04597) as a backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from seg_projects.errors import UserError
from seg_projects.modeling.backbones.freezing import freeze_levels
from seg_projects.modeling.backbones.memory_format import for_convolutions
from seg_projects.modeling.semantic_heads.base import conv_block


class UNetBackbone(Backbone):
    """Two 3x3 convolutions per level, 2x2 max pooling between levels.

    Convolutions are padded and pooled sizes rounded up: an image may have any size. Level i is the
    feature map ``down<i>``, of stride 2^i.
    """

    def __init__(
        self, in_channels: int, *, channels: Sequence[int], norm: str, freeze_at: int = 0
    ) -> None:
        """Builds the levels.

        Args:
            in_channels: of the image.
            channels: of each level, the finest first.
            norm: normalisation of the convolutions, as ``get_norm`` takes it; "" for none.
            freeze_at: how many levels, from the finest on, do not learn.

        Raises:
            UserError: there are fewer than two levels.
        """
        super().__init__()
        if len(channels) < 2:
            raise UserError(
                f"MODEL.UNET.CHANNELS is {list(channels)}: it needs two levels or more."
            )
        self.levels = nn.ModuleList()
        for before, after in zip((in_channels, *channels), channels, strict=False):
            convs = conv_block(before, after, norm=norm), conv_block(after, after, norm=norm)
            self.levels.append(nn.Sequential(*convs))
        freeze_levels(self.levels, freeze_at)
        # What Backbone.output_shape reads.
        self._out_features = [f"down{level}" for level in range(len(channels))]
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._out_feature_strides = {name: 2**i for i, name in enumerate(self._out_features)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) images to ``down<i>``, (N, channels[i], ceil(H / 2^i), ceil(W / 2^i))."""
        features: dict[str, Tensor] = {}
        x = for_convolutions(x)
        for name, level in zip(self._out_features, self.levels, strict=True):
            if features:
                x = F.max_pool2d(x, kernel_size=2, ceil_mode=True)
            x = level(x)
            features[name] = x
        return features


@BACKBONE_REGISTRY.register()
def build_unet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> UNetBackbone:
    """``MODEL.UNET`` as a backbone, frozen up to ``MODEL.BACKBONE.FREEZE_AT``."""
    assert input_shape.channels is not None
    node = cfg.MODEL.UNET
    return UNetBackbone(
        input_shape.channels,
        channels=node.CHANNELS,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )
