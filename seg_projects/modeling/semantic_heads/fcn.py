"""Fully convolutional networks with skips (arXiv:1411.4038)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from .base import SemanticHead, conv_block, crop_to


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(SemanticHead):
    """Scores of each map, added from the coarsest to the finest (figure 3 of the paper).

    ``IN_FEATURES`` says which FCN it is: one map of stride 32 gives FCN-32s, with the map of stride
    16 it is FCN-16s, with that of stride 8 too FCN-8s. The coarsest map goes through a 3x3
    convolution first, as fc6 and fc7 do there. Upsampling is bilinear; the skips start from zero.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        norm: str,
        **common: Any,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: what the backbone gives.
            num_classes: K.
            conv_dims: channels between the coarsest map and its scores.
            norm: normalisation of that convolution, as ``get_norm`` takes it; "" for none.
            common: as :class:`SemanticHead` takes it.
        """
        super().__init__(input_shape, num_classes=num_classes, **common)
        self.conv = conv_block(self.channels[-1], conv_dims, norm=norm)
        self.score = Conv2d(conv_dims, num_classes, kernel_size=1)
        self.skips = nn.ModuleList(
            Conv2d(c, num_classes, kernel_size=1) for c in self.channels[:-1]
        )
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)
        for skip in self.skips:
            nn.init.zeros_(skip.weight)
            nn.init.zeros_(skip.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        own = {"conv_dims": head.CONVS_DIM, "norm": head.NORM}
        return super().from_config(cfg, input_shape) | own

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        *finer, coarsest = self.in_features
        scores = self.score(self.conv(features[coarsest]))
        for name, skip, ratio in reversed(list(zip(finer, self.skips, self.ratios, strict=True))):
            scores = F.interpolate(scores, scale_factor=ratio, mode="bilinear", align_corners=False)
            skipped = skip(features[name])
            scores = crop_to(scores, skipped) + skipped
        return scores
