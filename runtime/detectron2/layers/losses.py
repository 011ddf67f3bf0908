"""Losses between pairs of boxes that also weigh distance and shape (arXiv:1911.08287)."""

from __future__ import annotations

from torch import Tensor


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + squared distance of the centers over the squared diagonal around both boxes.

    Args:
        boxes1: (N, 4) XYXY.
        boxes2: (N, 4) XYXY.
        reduction: "none" gives (N,) losses in [0, 2), "mean" (0 without boxes) and "sum" a scalar.
        eps: added to denominators.
    """
    # torchvision.ops brings in torch's compiler: a second that importing layers must not cost.
    from torchvision.ops import distance_box_iou_loss

    return distance_box_iou_loss(boxes1, boxes2, reduction=reduction, eps=eps)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """:func:`diou_loss` plus a weighted squared difference of the aspect angles; same arguments."""
    from torchvision.ops import complete_box_iou_loss

    return complete_box_iou_loss(boxes1, boxes2, reduction=reduction, eps=eps)
