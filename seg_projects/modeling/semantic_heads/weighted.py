"""Heads of Detectron2 that learn from ``MODEL.SEM_SEG_HEAD.LOSSES``, under names of our own.

Legend: N images, K classes, H x W pixels. Parameter names are those of the heads they extend, so
that checkpoints of these load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from seg_projects.modeling.losses import parse_losses, weighted_losses

from .base import crop_to, order_features, upsample
from .deeplab import DeepLabV3Head, DeepLabV3PlusHead


def _chosen_losses(cfg: CfgNode) -> list[Any]:
    head = cfg.MODEL.SEM_SEG_HEAD
    return parse_losses(head.LOSSES, num_classes=head.NUM_CLASSES)


class _WeightedSum:
    """``losses`` of a head as the config's sum, on logits at image size."""

    chosen_losses: Sequence[Any]
    common_stride: int
    ignore_value: int
    loss_weight: float

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of (N, K, H / stride, W / stride) logits, rounded up, and (N, H, W) labels."""
        logits = crop_to(upsample(predictions, self.common_stride), targets)
        losses = weighted_losses(
            self.chosen_losses, logits, targets, ignore_value=self.ignore_value
        )
        return {name: loss * self.loss_weight for name, loss in losses.items()}


class _ConfiguredSum(_WeightedSum, nn.Module):
    """For heads that are configurable themselves; stands before them among the bases."""

    @configurable
    def __init__(
        self, input_shape: dict[str, ShapeSpec], *, chosen_losses: Sequence[Any], **parts: Any
    ) -> None:
        """Takes :func:`parse_losses`' result, and ``parts`` as the head that is extended does."""
        super().__init__(input_shape, **parts)
        self.chosen_losses = chosen_losses

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        order_features(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, input_shape)
        parts = super().from_config(cfg, input_shape)
        return parts | {"chosen_losses": _chosen_losses(cfg)}


@SEM_SEG_HEADS_REGISTRY.register()
class SegFPNHead(_ConfiguredSum, SemSegFPNHead):
    """Detectron2's ``SemSegFPNHead`` (arXiv:1901.02446) with any sum of losses."""


@SEM_SEG_HEADS_REGISTRY.register()
class SegDeepLabV3PlusHead(_ConfiguredSum, DeepLabV3PlusHead):
    """DeepLabV3+ (arXiv:1802.02611) with any sum of losses."""


@SEM_SEG_HEADS_REGISTRY.register()
class SegDeepLabV3Head(_WeightedSum, DeepLabV3Head):
    """DeepLabV3 (arXiv:1706.05587) with any sum of losses."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        order_features(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, input_shape)
        super().__init__(cfg, input_shape)
        self.chosen_losses = _chosen_losses(cfg)
