"""The three branches of the image cascade network (arXiv:1704.08545) as a backbone."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.resnet import ResNet
from seg_projects.modeling.semantic_heads.base import conv_block

from .deeplab_resnet import make_dilated_resnet

HIGH_CHANNELS = (32, 32, 64)


class ICNetBackbone(Backbone):
    """Few layers see the whole image, a deep ResNet sees it at half and at quarter size.

    Maps are ``high`` (stride 8, three convolutions of the image), ``medium`` (16, the ResNet's
    first layers of the image at half size) and ``low`` (the rest of the ResNet, of the medium map
    at half size: both resolutions share the first layers). Sizes are rounded up.
    """

    def __init__(self, in_channels: int, resnet: ResNet, *, norm: str) -> None:
        """Takes the ResNet, with all of its stages, and the normalisation of the high branch."""
        super().__init__()
        self.resnet = resnet
        self.high = nn.Sequential(
            *(
                conv_block(before, after, norm=norm, stride=2)
                for before, after in pairwise((in_channels, *HIGH_CHANNELS))
            )
        )
        medium, low = resnet.res3[0], resnet.output_shape()["res5"]
        assert low.channels is not None
        assert low.stride is not None
        # What Backbone.output_shape reads.
        self._out_features = ["high", "medium", "low"]
        self._out_feature_channels = {
            "high": HIGH_CHANNELS[-1],
            "medium": medium.out_channels,
            "low": low.channels,
        }
        self._out_feature_strides = {"high": 8, "medium": 16, "low": 4 * low.stride}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) images to the three maps by name."""
        net = self.resnet
        medium = net.res3[0](net.res2(net.stem(half(x))))
        low = half(medium)
        # Not a slice, which would register the blocks once more.
        for block in list(net.res3)[1:]:
            low = block(low)
        return {"high": self.high(x), "medium": medium, "low": net.res5(net.res4(low))}


def half(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, ceil(H / 2), ceil(W / 2)), bilinear: the mean of 2 x 2 positions."""
    return F.avg_pool2d(x, kernel_size=2, ceil_mode=True)


@BACKBONE_REGISTRY.register()
def build_icnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ICNetBackbone:
    """``MODEL.RESNETS`` in three resolutions; dilations 2 and 4 give the paper's strides.

    ``MODEL.BACKBONE.FREEZE_AT`` counts the ResNet's stages; the branch ``high``, for which there
    are no weights of a classifier, always learns.
    """
    assert input_shape.channels is not None
    resnet = make_dilated_resnet(cfg, input_shape.channels, out_features=["res5"])
    return ICNetBackbone(input_shape.channels, resnet, norm=cfg.MODEL.RESNETS.NORM)
