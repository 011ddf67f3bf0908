"""Non-maximum suppression: of boxes that overlap too much, the one with the best score stays.

torchvision does it. It is imported at the first call, because it brings in torch's compiler, a
second that importing layers must not cost.
"""

from __future__ import annotations

from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices, by falling score, of the (N, 4) XYXY boxes that stay.

    Args:
        boxes: (N, 4) XYXY.
        scores: (N,).
        iou_threshold: a box goes when its IoU with a better one is above this.
    """
    from torchvision import ops

    return ops.nms(boxes, scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """:func:`nms` within each category alone.

    Args:
        boxes: (N, 4) XYXY, of any float type.
        scores: (N,).
        idxs: (N,) categories (or levels, or images); boxes of different ones never compete.
        iou_threshold: a box goes when its IoU with a better one of its category is above this.
    """
    from torchvision import ops

    assert boxes.shape[-1] == 4, f"batched_nms wants (N, 4) boxes, not {tuple(boxes.shape)}."
    # Half precision cannot hold the offsets that keep the categories apart.
    return ops.batched_nms(boxes.float(), scores, idxs, iou_threshold)
