"""Scored instances from a panoptic map that was grouped by centres."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from detectron2.structures import Boxes, Instances

from .counting import true_at


def instances_of(
    panoptic: Tensor,
    logits: Tensor,
    heatmap: Tensor,
    *,
    thing_ids: Collection[int],
    label_divisor: int,
) -> Instances:
    """Things of a map, by rising label, with scores for AP (arXiv:1911.10194, section 4.1).

    The score is the mean probability of the class over the mask times the centre map at its mean
    pixel; the centre map has no fixed range, hence nor has the score.

    Args:
        panoptic: (H, W) int64, class * label_divisor + number, negative for void.
        logits: (K, H, W) class scores, before softmax.
        heatmap: (H, W) centre map.
        thing_ids: classes that have instances.
        label_divisor: of the labels.

    Returns:
        R instances: ``pred_masks`` (R, H, W) bool, ``pred_boxes``, ``pred_classes`` and ``scores``.
    """
    height, width = panoptic.shape
    things = set(thing_ids)
    labels, index, sizes = panoptic.flatten().unique(return_inverse=True, return_counts=True)
    found = list(zip(*torch.stack([labels, sizes]).tolist(), strict=True))
    chosen = [
        at for at, (label, _) in enumerate(found) if label >= 0 and label // label_divisor in things
    ]
    count = len(chosen)
    # Rows of the chosen labels; all other pixels go to one row behind them.
    row_of = [count] * len(found)
    for row, at in enumerate(chosen):
        row_of[at] = row
    rows = torch.tensor(row_of).to(index.device, non_blocking=True)[index]
    pixels = true_at(rows < count, sum(found[at][1] for at in chosen))[:, 0]
    rows = rows[pixels]
    labels = torch.tensor([found[at][0] for at in chosen], dtype=torch.int64)
    labels = labels.to(index.device, non_blocking=True)
    classes = labels // label_divisor
    y, x = torch.div(pixels, width, rounding_mode="floor"), pixels % width
    scores = logits.view(len(logits), -1)
    chances = (scores[classes[rows], pixels] - scores.logsumexp(dim=0)[pixels]).exp()
    areas, sum_chance, sum_y, sum_x = (
        torch.zeros(count, dtype=torch.float64, device=rows.device).index_add(0, rows, v.double())
        for v in (torch.ones_like(chances), chances, y, x)
    )
    middles = heatmap[(sum_y / areas).long(), (sum_x / areas).long()]
    result = Instances((height, width))
    result.pred_classes = classes
    result.pred_masks = panoptic == labels[:, None, None]
    result.scores = (sum_chance / areas).to(middles.dtype) * middles
    result.pred_boxes = Boxes(_boxes(rows, y, x, count))
    return result


def _boxes(rows: Tensor, y: Tensor, x: Tensor, count: int) -> Tensor:
    """(count, 4) float32 XYXY boxes around the pixels of each row, right and bottom included."""

    def extreme(values: Tensor, reduce: str) -> Tensor:
        start = values.new_zeros(count)
        return start.scatter_reduce(0, rows, values, reduce, include_self=False)

    low = [extreme(x, "amin"), extreme(y, "amin")]
    high = [extreme(x, "amax") + 1, extreme(y, "amax") + 1]
    return torch.stack([*low, *high], dim=1).float()
