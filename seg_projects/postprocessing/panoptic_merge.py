"""The merge of instances and stuff into one panoptic map (arXiv:1801.00868, section 5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def merge_instances_and_stuff(
    masks: Tensor,
    boxes_xyxy: Tensor,
    scores: Tensor,
    classes: Tensor,
    semantic_labels: Tensor,
    *,
    overlap_threshold: float,
    stuff_area_limit: float,
    score_threshold: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Paints instances by falling score, then the stuff that they leave free.

    An instance is dropped where more than ``overlap_threshold`` of its mask is taken already.
    Work follows the pixels of the boxes, not pixels times instances.

    Args:
        masks: (R, H, W) bool, each False outside its box.
        boxes_xyxy: (R, 4) boxes in pixels, within the image.
        scores: (R,) scores; instances below ``score_threshold`` are dropped.
        classes: (R,) int64 thing classes.
        semantic_labels: (H, W) int64; label 0 stands for all things and is never painted.
        overlap_threshold: in [0, 1].
        stuff_area_limit: smallest area of a stuff segment, in pixels.
        score_threshold: in [0, 1].

    Returns:
        The (H, W) int32 map of segment ids, 0 where nothing was painted, and one entry per
        segment: ``id``, ``isthing``, ``category_id`` and, for things, ``score`` and
        ``instance_id`` (the row in ``masks``), for stuff, ``area``.
    """
    panoptic = torch.zeros_like(semantic_labels, dtype=torch.int32)
    segments: list[dict[str, Any]] = []
    order = torch.argsort(-scores, stable=True)
    rows = torch.stack(
        [order.double(), scores[order].double(), classes[order].double()], dim=1
    ).tolist()
    # Grown to whole pixels, by one more for the rounding of the mask's resampling.
    low = boxes_xyxy[order, :2].floor().long().sub(1).clamp(min=0).tolist()
    high = boxes_xyxy[order, 2:].ceil().long().add(1).tolist()
    for (row, score, category), (x0, y0), (x1, y1) in zip(rows, low, high, strict=True):
        if score < score_threshold:
            break
        mask = masks[int(row), y0:y1, x0:x1]
        window = panoptic[y0:y1, x0:x1]
        free = mask & (window == 0)
        area, free_area = torch.stack([mask.sum(), free.sum()]).tolist()
        if area == 0 or (area - free_area) / area > overlap_threshold:
            continue
        window[free] = len(segments) + 1
        segments.append(
            {
                "id": len(segments) + 1,
                "isthing": True,
                "score": score,
                "category_id": int(category),
                "instance_id": int(row),
            }
        )
    _paint_stuff(panoptic, segments, semantic_labels, stuff_area_limit)
    return panoptic, segments


def _paint_stuff(
    panoptic: Tensor, segments: list[dict[str, Any]], semantic_labels: Tensor, area_limit: float
) -> None:
    """Adds the stuff segments to ``panoptic`` and ``segments``, in place: one pass, one table."""
    labels = torch.where(panoptic == 0, semantic_labels, 0)
    areas = torch.bincount(labels.flatten()).tolist()
    table = torch.zeros(max(len(areas), 1), dtype=torch.int32)
    for label, area in enumerate(areas):
        if label == 0 or area == 0 or area < area_limit:
            continue
        table[label] = len(segments) + 1
        segments.append(
            {"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area}
        )
    panoptic += table.to(panoptic.device)[labels]
