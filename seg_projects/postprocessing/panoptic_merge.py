"""The merge of instances and stuff into one panoptic map (arXiv:1801.00868, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .counting import histogram


class _Instance(NamedTuple):
    """An instance on the host."""

    row: int  # in the masks
    category: int
    score: float
    box: tuple[slice, slice]  # rows and columns that hold all of the mask


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
    Work follows the pixels of the boxes, not pixels times instances. The host waits for the
    device twice, whatever the number of instances: for boxes and scores, and for what was painted.

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
    instances, num_labels = _on_host(boxes_xyxy, scores, classes, semantic_labels)
    instances = [one for one in instances if one.score >= score_threshold]
    # Stuff has the numbers of its labels, instances those from num_labels on, by falling score.
    numbers, painted = _paint(masks, instances, semantic_labels, num_labels, overlap_threshold)
    areas = histogram(numbers, num_labels + len(instances))
    values = torch.cat([painted, areas[:num_labels]]).tolist()
    is_painted, stuff_areas = values[: len(instances)], values[len(instances) :]
    segments: list[dict[str, Any]] = []
    table = [0] * (num_labels + len(instances))
    for number, (one, shown) in enumerate(zip(instances, is_painted, strict=True), num_labels):
        if shown:
            table[number] = len(segments) + 1
            segments.append(
                {
                    "id": len(segments) + 1,
                    "isthing": True,
                    "score": one.score,
                    "category_id": one.category,
                    "instance_id": one.row,
                }
            )
    for label, area in enumerate(stuff_areas):
        if label > 0 and area > 0 and area >= stuff_area_limit:
            table[label] = len(segments) + 1
            segments.append(
                {"id": len(segments) + 1, "isthing": False, "category_id": label, "area": area}
            )
    ids = torch.tensor(table, dtype=torch.int32).to(numbers.device, non_blocking=True)
    return ids.index_select(0, numbers.flatten()).view(numbers.shape), segments


def _on_host(
    boxes_xyxy: Tensor, scores: Tensor, classes: Tensor, semantic_labels: Tensor
) -> tuple[list[_Instance], int]:
    """The instances by falling score, and how many semantic labels there may be; one wait."""
    order = torch.argsort(-scores, stable=True)
    # Grown to whole pixels, by one more for the rounding of the mask's resampling.
    low = boxes_xyxy[order, :2].floor().sub(1).clamp(min=0)
    high = boxes_xyxy[order, 2:].ceil().add(1).clamp(min=0)
    columns = (order[:, None], classes[order, None], scores[order, None], low, high)
    values = torch.cat([column.double() for column in columns], dim=1).flatten()
    highest = semantic_labels.flatten().amax().double() if semantic_labels.numel() else 0
    flat = torch.cat([values, values.new_zeros(1) + highest]).tolist()
    width = 7
    instances = []
    for start in range(0, len(flat) - 1, width):
        row, category, score, *box = flat[start : start + width]
        x0, y0, x1, y1 = (int(side) for side in box)
        instances.append(_Instance(int(row), int(category), score, (slice(y0, y1), slice(x0, x1))))
    return instances, int(flat[-1]) + 1


def _paint(
    masks: Tensor,
    instances: Sequence[_Instance],
    semantic_labels: Tensor,
    first: int,
    overlap_threshold: float,
) -> tuple[Tensor, Tensor]:
    """The (H, W) int32 numbers of what is seen, and (R,) int64, 1 for each instance that is.

    Both are on the device. Instances are numbered from ``first`` on; what they leave free keeps its
    semantic label.
    """
    things = torch.zeros_like(semantic_labels, dtype=torch.int32)
    painted = []
    for number, one in enumerate(instances, first):
        mask, window = masks[one.row][one.box], things[one.box]
        free = mask & (window == 0)
        area, free_area = mask.sum(), free.sum()
        # Of an empty mask the share is no number, and not less than anything.
        shown = (area - free_area).double() / area <= overlap_threshold
        window.add_(free * (shown.int() * number))
        painted.append(shown)
    stacked = torch.stack(painted).long() if painted else semantic_labels.new_zeros(0)
    return torch.where(things == 0, semantic_labels.int(), things), stacked
