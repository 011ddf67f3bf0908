"""From scored boxes to proposals, and ground truth among them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

logger = logging.getLogger(__name__)

__all__ = [
    "add_ground_truth_to_proposals",
    "add_ground_truth_to_proposals_single_image",
    "find_top_rpn_proposals",
    "suppress_proposals",
    "top_candidates",
]

# The logit of the probability 1 - 1e-10, which a ground truth box gets as a proposal.
_GROUND_TRUTH_LOGIT = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


def find_top_rpn_proposals(
    proposals: list[Tensor],
    pred_objectness_logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """The best proposals of each image over all levels, after non-maximum suppression.

    Args:
        proposals: (N, R_l, 4) XYXY boxes in pixels, for each level l.
        pred_objectness_logits: (N, R_l), for each level.
        image_sizes: (height, width) of each of the N images.
        nms_thresh: IoU above which the lower scored box of a level is dropped.
        pre_nms_topk: how many boxes of each level and image are candidates.
        post_nms_topk: how many proposals each image keeps.
        min_box_size: a proposal's sides must be longer than this, in pixels, after clipping.
        training: boxes and scores must be finite then, while otherwise such boxes are dropped.

    Returns:
        For each image ``proposal_boxes``, clipped to it, and ``objectness_logits``, descending.
    """
    scores, boxes = [], []
    for level_boxes, level_logits in zip(proposals, pred_objectness_logits, strict=True):
        level_scores, rows = top_candidates(level_logits, pre_nms_topk)
        scores.append(level_scores)
        boxes.append(level_boxes.gather(1, rows[..., None].expand(-1, -1, 4)))
    return suppress_proposals(
        boxes, scores, image_sizes, nms_thresh, post_nms_topk, min_box_size, training
    )


def top_candidates(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` highest of each row of the (N, R) ``logits``, descending, and their columns."""
    available = logits.shape[1]
    # While tracing, sizes are tensors, and a comparison would fix the example's result.
    tracing = isinstance(available, Tensor)
    return logits.topk(available.clamp(max=count) if tracing else min(count, available), dim=1)


def suppress_proposals(
    boxes: list[Tensor],
    logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """What ``find_top_rpn_proposals`` does once the candidates of each level are chosen."""
    level_ids = torch.cat(
        [
            torch.full((level.shape[1],), index, dtype=torch.int64, device=level.device)
            for index, level in enumerate(logits)
        ]
    )
    all_boxes, all_logits = torch.cat(boxes, dim=1), torch.cat(logits, dim=1)  # (N, R, 4), (N, R)
    finite = all_boxes.isfinite().all(dim=2) & all_logits.isfinite()
    if training and not bool(finite.all()):
        raise FloatingPointError(
            "Predicted boxes or scores contain Inf or NaN: training has diverged. "
            "A lower learning rate, a longer warmup or gradient clipping may help."
        )
    results = []
    for image_boxes, image_logits, valid, size in zip(
        all_boxes, all_logits, finite, image_sizes, strict=True
    ):
        clipped = _clip(image_boxes, size)
        sides = clipped[:, 2:] - clipped[:, :2]
        kept = valid & (sides > min_box_size).all(dim=1)
        candidates, scores = clipped[kept], image_logits[kept]
        winners = batched_nms(candidates, scores, level_ids[kept], nms_thresh)[:post_nms_topk]
        results.append(
            Instances(
                size,
                proposal_boxes=Boxes(candidates[winners]),
                objectness_logits=scores[winners],
            )
        )
    return results


def add_ground_truth_to_proposals(
    gt: Sequence[Instances] | Sequence[Boxes], proposals: list[Instances]
) -> list[Instances]:
    """Each image's proposals and, behind them, its ground truth boxes.

    This makes sure that training sees some positives, however bad the proposals are.

    Args:
        gt: ``Boxes``, or ``Instances`` with ``gt_boxes``, of each image.
        proposals: ``Instances`` with ``proposal_boxes`` and ``objectness_logits`` of each image.
    """
    if len(gt) != len(proposals):
        raise ValueError(f"ground truth of {len(gt)} images, proposals of {len(proposals)}")
    return list(map(add_ground_truth_to_proposals_single_image, gt, proposals))


def add_ground_truth_to_proposals_single_image(
    gt: Instances | Boxes, proposals: Instances
) -> Instances:
    """The same for one image; ``gt`` must have all further fields of ``proposals``."""
    fields = {"gt_boxes": gt} if isinstance(gt, Boxes) else gt.get_fields()
    gt_boxes = fields["gt_boxes"]
    logits = proposals.objectness_logits.new_full((len(gt_boxes),), _GROUND_TRUTH_LOGIT)
    added = Instances(
        proposals.image_size,
        **{**fields, "proposal_boxes": gt_boxes, "objectness_logits": logits},
    )
    for name in proposals.get_fields():
        assert added.has(name), f"the proposals' field {name!r} is missing in the ground truth"
    return Instances.cat([proposals, added])


def _clip(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """A copy of the (R, 4) ``boxes``, cut off at the sides of the image."""
    height, width = size_hw
    xs = boxes[:, 0::2].clamp(min=0, max=width)
    ys = boxes[:, 1::2].clamp(min=0, max=height)
    return torch.stack((xs, ys), dim=2).flatten(1)
