"""Average recall of class-agnostic box proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detectron2.structures import Boxes, Instances, pairwise_iou

__all__ = ["proposal_recall"]

LIMITS = (100, 1000)
# Areas in pixels, by the ground truth's mask: suffix -> (least, largest).
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


def proposal_recall(
    proposals: Sequence[Instances], ground_truth: Sequence[Sequence[dict[str, Any]]]
) -> dict[str, float]:
    """Average recall in percent over IoU thresholds from 0.5 to 0.95.

    Args:
        proposals: for each image, with ``proposal_boxes`` and ``objectness_logits``.
        ground_truth: for each image, annotations in COCO's format without crowds.

    Returns:
        ``AR@100``, ``ARs@100``, ... ``ARl@1000``: for the best 100 or 1000 proposals of an image,
        over all objects and over small, medium and large ones. NaN where there are no objects.
    """
    results = {}
    for limit in LIMITS:
        for suffix, area in AREAS.items():
            overlaps = [
                _matched_overlaps(found, truth, limit, area)
                for found, truth in zip(proposals, ground_truth, strict=True)
            ]
            results[f"AR{suffix}@{limit}"] = _average_recall(overlaps)
    return results


def _matched_overlaps(
    proposals: Instances,
    annotations: Sequence[dict[str, Any]],
    limit: int,
    area: tuple[float, float],
) -> Tensor:
    """IoU of each object with the proposal that it is matched with, 0 where none is left.

    The best pair is matched first, then the best of the remaining ones, and so on.
    """
    boxes = [a["bbox"] for a in annotations if area[0] <= a["area"] <= area[1]]
    matched = torch.zeros(len(boxes))
    if not boxes or not len(proposals):
        return matched
    best = proposals.objectness_logits.argsort(descending=True)[:limit]
    truth = torch.tensor(boxes)
    truth[:, 2:] += truth[:, :2]  # XYWH -> XYXY
    ious = pairwise_iou(proposals.proposal_boxes[best], Boxes(truth))
    for index in range(min(ious.shape)):
        proposal, target = divmod(int(ious.argmax()), ious.shape[1])
        matched[index] = ious[proposal, target]
        ious[proposal, :] = -1
        ious[:, target] = -1
    return matched


def _average_recall(overlaps: Sequence[Tensor]) -> float:
    ious = torch.cat([*overlaps, torch.zeros(0)])
    if not len(ious):
        return float("nan")
    thresholds = torch.arange(0.5, 0.95 + 1e-5, 0.05)
    return float((ious[:, None] >= thresholds).float().mean()) * 100
