"""Losses of semantic segmentation: functions of logits and labels."""

from .boundary import boundary_loss, sigmoid_boundary_loss
from .cross_entropy import cross_entropy_loss, sigmoid_cross_entropy_loss
from .dice import dice_loss, sigmoid_dice_loss
from .focal import focal_loss, sigmoid_focal_loss
from .hard_pixels import (
    DeepLabCE,
    hard_pixel_cross_entropy_loss,
    sigmoid_hard_pixel_cross_entropy_loss,
)
from .lovasz import lovasz_hinge_loss, lovasz_softmax_loss
from .weighted_sum import (
    LOSSES,
    SIGMOID_LOSSES,
    SOFTMAX_LOSSES,
    WeightedLoss,
    parse_losses,
    weighted_losses,
)

__all__ = [
    "LOSSES",
    "SIGMOID_LOSSES",
    "SOFTMAX_LOSSES",
    "DeepLabCE",
    "WeightedLoss",
    "boundary_loss",
    "cross_entropy_loss",
    "dice_loss",
    "focal_loss",
    "hard_pixel_cross_entropy_loss",
    "lovasz_hinge_loss",
    "lovasz_softmax_loss",
    "parse_losses",
    "sigmoid_boundary_loss",
    "sigmoid_cross_entropy_loss",
    "sigmoid_dice_loss",
    "sigmoid_focal_loss",
    "sigmoid_hard_pixel_cross_entropy_loss",
    "weighted_losses",
]
