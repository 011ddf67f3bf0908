"""The image cascade network's head (arXiv:1704.08545): coarse maps guide finer ones.

Legend: N images, K classes, C channels, H x W positions of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from seg_projects.errors import UserError

from .base import SemanticHead, check_norm, classifier, conv_block, crop_to, upsample

# Of the pyramid of PSPNet (arXiv:1612.01105): an image is summed up in 1, 4, 9 and 36 cells.
PYRAMID = (1, 2, 3, 6)


@SEM_SEG_HEADS_REGISTRY.register()
class ICNetHead(SemanticHead):
    """Pyramid pooling of the coarsest of three maps, then a cascade feature fusion per finer map.

    Cascade label guidance: before each fusion the coarse map is classified by itself, in training
    alone, against labels sampled at its own grid. Such losses are named ``..._guide<stride>``.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        norm: str,
        guide_weights: Sequence[float],
        **common: Any,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: what the backbone gives.
            num_classes: K.
            conv_dims: C of the fused maps; the pooled one has twice as many.
            norm: normalisation of the convolutions, as ``get_norm`` takes it; "" for none.
            guide_weights: lambda_1 and lambda_2 of the paper's equation 3, the weights of the
                losses of the coarsest and of the next map; the last one's is 1.
            common: as :class:`SemanticHead` takes it.

        Raises:
            UserError: there are not three maps and two weights, or ``norm`` does not fit.
        """
        super().__init__(input_shape, num_classes=num_classes, **common)
        _check(self.in_features, guide_weights)
        *finer, coarsest = self.channels
        widths = (2 * conv_dims, conv_dims)
        self.compress = conv_block(coarsest, widths[0], norm=norm, kernel_size=1)
        self.fusions = nn.ModuleList(
            CascadeFusion(coarse, fine, conv_dims, norm=norm)
            for coarse, fine in zip(widths, reversed(finer), strict=True)
        )
        self.guides = nn.ModuleList(classifier(width, num_classes) for width in widths)
        self.guide_weights = tuple(guide_weights)
        self.predictor = classifier(conv_dims, num_classes)
        # Of what each guide and, last, the prediction is compared with.
        self.strides = [input_shape[name].stride or 1 for name in self.in_features[1::-1]]
        self.stride = max(1, self.strides[-1] // 2)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        own = {
            "conv_dims": head.CONVS_DIM,
            "norm": head.NORM,
            "guide_weights": cfg.MODEL.ICNET.GUIDE_WEIGHTS,
        }
        return super().from_config(cfg, input_shape) | own

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """As :meth:`SemanticHead.forward`, with the losses of the guides."""
        if not self.training:
            return super().forward(features)
        assert targets is not None, "training needs targets"
        logits, guides = self._cascade(features)
        losses = self._losses(logits, self._sampled(targets, self.stride))
        for guide, stride, weight in zip(guides, self.strides, self.guide_weights, strict=True):
            for name, loss in self._losses(guide, self._sampled(targets, stride)).items():
                losses[f"{name}_guide{stride}"] = weight * loss
        return None, losses

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        return self._cascade(features)[0]

    def _cascade(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits at half the finest map's stride; in training, the guides' at each map's."""
        *finer, coarsest = self.in_features
        x, guides = self.compress(pyramid_sum(features[coarsest])), []
        for name, ratio, fusion, guide in zip(
            reversed(finer), reversed(self.ratios), self.fusions, self.guides, strict=True
        ):
            fine = features[name]
            if self.training:
                # Scores of upsampled features are upsampled scores.
                guides.append(crop_to(upsample(guide(x), ratio), fine))
            x = fusion(crop_to(upsample(x, ratio), fine), fine)
        return upsample(self.predictor(x), self.strides[-1] // self.stride), guides

    def _sampled(self, labels: Tensor, stride: int) -> Tensor:
        """The label in the middle of each cell, (N, ceil(H / stride), ceil(W / stride))."""
        height, width = labels.shape[-2:]
        padding = (0, -width % stride, 0, -height % stride)
        padded = F.pad(labels, padding, value=self.ignore_value)
        return padded[..., stride // 2 :: stride, stride // 2 :: stride]


def _check(in_features: Sequence[str], guide_weights: Sequence[float]) -> None:
    if len(in_features) != 3:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES is {list(in_features)}; ICNetHead takes three maps."
        )
    if len(guide_weights) != 2 or not min(guide_weights) >= 0:
        raise UserError(
            f"MODEL.ICNET.GUIDE_WEIGHTS is {list(guide_weights)}; it is two weights, 0 or more, of "
            "the losses of the coarsest and of the next map."
        )


class CascadeFusion(nn.Module):
    """Adds a fine map to a coarse one of twice the field (section 3.3 of the paper)."""

    def __init__(self, coarse: int, fine: int, out: int, *, norm: str) -> None:
        """Takes the channels of both maps and of the result."""
        super().__init__()
        check_norm(norm, out)
        # After upsampling, the dilation gives each position its coarse neighbours.
        self.coarse = Conv2d(
            coarse,
            out,
            kernel_size=3,
            padding=2,
            dilation=2,
            bias=not norm,
            norm=get_norm(norm, out),
        )
        self.fine = Conv2d(fine, out, kernel_size=1, bias=not norm, norm=get_norm(norm, out))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, C, H, W) each, the coarse one upsampled, to (N, out, H, W)."""
        return F.relu(self.coarse(coarse) + self.fine(fine))


def pyramid_sum(x: Tensor) -> Tensor:
    """A map (N, C, H, W) plus its means over 1, 4, 9 and 36 cells, upsampled to H x W."""
    size = x.shape[-2:]
    pooled = [
        F.interpolate(
            F.adaptive_avg_pool2d(x, cells), size=size, mode="bilinear", align_corners=False
        )
        for cells in PYRAMID
    ]
    return x + torch.stack(pooled).sum(dim=0)
