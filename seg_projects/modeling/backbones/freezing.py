"""``MODEL.BACKBONE.FREEZE_AT`` of backbones that are a list of levels."""

from __future__ import annotations

from torch import nn

from detectron2.layers import FrozenBatchNorm2d


def freeze_levels(levels: nn.ModuleList, freeze_at: int) -> None:
    """Stops, in place, the training of the first ``freeze_at`` of the levels.

    As in Detectron2's ResNet, whose first level is the stem: parameters take no gradient, a
    BatchNorm becomes a ``FrozenBatchNorm2d``, whose statistics are fixed.
    """
    for level in list(levels)[: max(freeze_at, 0)]:
        level.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(level)
