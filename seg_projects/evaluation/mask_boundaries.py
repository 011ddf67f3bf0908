"""Boundary AP: masks match by the smaller of mask IoU and boundary IoU (arXiv:2103.16562)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from seg_projects.evaluation.average_precision import IOU_THRESHOLDS, Pairs, Truths
from seg_projects.evaluation.panoptic_boundaries import boundary_distance


def boundary_of_mask(mask: dict[str, Any], share: float) -> dict[str, Any]:
    """The pixels of a mask within a distance of its contour or the image's border.

    Args:
        mask: a compressed COCO RLE, and so is the result.
        share: the distance as a share of the image's diagonal.
    """
    import cv2
    from pycocotools import mask as coco_mask

    distance = boundary_distance(tuple(mask["size"]), share)
    x, y, width, height = (int(value) for value in coco_mask.toBbox(mask))
    pixels = coco_mask.decode(mask)
    inside = pixels[y : y + height, x : x + width]
    if inside.size:
        # What is beyond the box is not part of the mask.
        padded = np.pad(inside, distance)
        square = np.ones((2 * distance + 1,) * 2, dtype=np.uint8)
        kept = cv2.erode(padded, square)[distance:-distance, distance:-distance]
        pixels[y : y + height, x : x + width] = inside & ~kept
    return coco_mask.encode(pixels)


def boundary_pairs(
    pairs: Pairs,
    truths: Truths,
    truth_masks: Sequence[dict[str, Any]],
    masks: Sequence[dict[str, Any]],
    share: float,
) -> Pairs:
    """The pairs whose boundary IoU reaches the lowest threshold, too; with the smaller IoU.

    A crowd, whose outline is not that of objects, is overlapped as a mask alone.

    Args:
        pairs: as of masks.
        truths: the objects.
        truth_masks: (G,) compressed RLEs.
        masks: (D,) compressed RLEs of the detections.
        share: distance from the contour as a share of the image's diagonal.
    """
    from pycocotools import mask as coco_mask

    @lru_cache(maxsize=1024)
    def boundary(of_truth: bool, row: int) -> dict[str, Any]:
        return boundary_of_mask((truth_masks if of_truth else masks)[row], share)

    iou = pairs.iou.copy()
    # Side by side where they share a truth, so that its boundary is made once.
    for place in np.lexsort((pairs.detection, pairs.truth)).tolist():
        truth, detection = int(pairs.truth[place]), int(pairs.detection[place])
        if not truths.crowd[truth]:
            shared = coco_mask.iou([boundary(False, detection)], [boundary(True, truth)], [0])
            iou[place] = min(iou[place], float(shared[0, 0]))
    keep = iou >= IOU_THRESHOLDS[0]
    return Pairs(pairs.detection[keep], pairs.truth[keep], iou[keep])
