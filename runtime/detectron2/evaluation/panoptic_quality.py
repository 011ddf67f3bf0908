"""Panoptic quality (arXiv:1801.00868), with the numbers of the reference tool, panopticapi."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["CategoryCounts", "PanopticQuality", "average_quality", "count_matches", "pair_counts"]

VOID = 0

PairCounts = dict[tuple[int, int], int]
Segment = Mapping[str, Any]


@dataclass(slots=True)
class CategoryCounts:
    """All that panoptic quality needs of one category: sums over images are sums of these."""

    iou: float = 0.0
    """Sum of the IoU of the matched pairs."""
    tp: int = 0
    """Matched pairs."""
    fp: int = 0
    """Predicted segments without a match."""
    fn: int = 0
    """Ground-truth segments without a match."""

    def add(self, other: CategoryCounts) -> None:
        """Adds the counts of another image."""
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn


class PanopticQuality(NamedTuple):
    """Means over categories, in [0, 1]; NaN where no category has a segment."""

    pq: float
    sq: float
    rq: float
    categories: int


def pair_counts(gt_ids: Tensor, pred_ids: Tensor) -> PairCounts:
    """Joint histogram of two id maps: (ground-truth id, predicted id) -> pixels.

    Args:
        gt_ids, pred_ids: (H, W) integers in [0, 2^31), on the same device.
    """
    if gt_ids.shape != pred_ids.shape:
        raise ValueError(
            f"The prediction is {tuple(pred_ids.shape)}, the ground truth {tuple(gt_ids.shape)}:"
            " predictions must be of the size of the original image."
        )
    keys = (gt_ids.long() << 32 | pred_ids.long()).flatten()
    # Neighbours are mostly equal: a few thousand runs are sorted instead of a million pixels.
    run_keys, run_lengths = torch.unique_consecutive(keys, return_counts=True)
    pairs, index = torch.unique(run_keys, return_inverse=True)
    counts = torch.zeros_like(pairs).index_add_(0, index, run_lengths)
    return {
        (key >> 32, key & 0xFFFFFFFF): count
        for key, count in torch.stack([pairs, counts], dim=1).tolist()
    }


def count_matches(
    pairs: PairCounts, gt_segments: Sequence[Segment], pred_segments: Sequence[Segment]
) -> dict[int, CategoryCounts]:
    """Matches the segments of one image; the result is by category id.

    A predicted and a ground-truth segment of the same category match when their IoU is above 0.5
    (section 4.1 of the paper). A prediction that is more than half void or crowd is not counted as
    false.

    Args:
        pairs: the joint histogram; id 0 is void on both sides.
        gt_segments: dicts with ``id``, ``category_id``, ``iscrowd`` and ``area``.
        pred_segments: dicts with ``id`` and ``category_id``.
    """
    truth = {segment["id"]: segment for segment in gt_segments}
    predicted = {segment["id"]: segment for segment in pred_segments}
    areas = _predicted_areas(pairs, predicted)
    counts: dict[int, CategoryCounts] = defaultdict(CategoryCounts)
    found_gt, found_pred = set(), set()
    for gt_id, pred_id, iou in _matches(pairs, truth, predicted, areas):
        found_gt.add(gt_id)
        found_pred.add(pred_id)
        counts[truth[gt_id]["category_id"]].tp += 1
        counts[truth[gt_id]["category_id"]].iou += iou
    for gt_id in truth.keys() - found_gt:
        if not truth[gt_id]["iscrowd"]:
            counts[truth[gt_id]["category_id"]].fn += 1
    # As in panopticapi, of several crowds of a category in an image the last one counts.
    crowds = {s["category_id"]: s["id"] for s in gt_segments if s["iscrowd"]}
    for pred_id in predicted.keys() - found_pred:
        category_id = predicted[pred_id]["category_id"]
        ignored = pairs.get((VOID, pred_id), 0)
        if category_id in crowds:
            ignored += pairs.get((crowds[category_id], pred_id), 0)
        if ignored / areas[pred_id] <= 0.5:
            counts[category_id].fp += 1
    return dict(counts)


def _matches(
    pairs: PairCounts,
    truth: Mapping[int, Segment],
    predicted: Mapping[int, Segment],
    areas: Mapping[int, int],
) -> Iterator[tuple[int, int, float]]:
    """(ground-truth id, predicted id, IoU) of each match; the union leaves out void pixels."""
    for (gt_id, pred_id), intersection in pairs.items():
        gt, pred = truth.get(gt_id), predicted.get(pred_id)
        if gt is None or pred is None or gt["iscrowd"]:
            continue
        if gt["category_id"] != pred["category_id"]:
            continue
        void = pairs.get((VOID, pred_id), 0)
        iou = intersection / (areas[pred_id] + gt["area"] - intersection - void)
        if iou > 0.5:
            yield gt_id, pred_id, iou


def _predicted_areas(pairs: PairCounts, predicted: Mapping[int, Segment]) -> dict[int, int]:
    """Pixels of each predicted segment; the map and the list must name the same segments."""
    areas: dict[int, int] = defaultdict(int)
    for (_, pred_id), count in pairs.items():
        if pred_id != VOID:
            areas[pred_id] += count
    if areas.keys() != predicted.keys():
        raise KeyError(
            f"The predicted map has the segments {sorted(areas)}, segments_info has"
            f" {sorted(predicted)}: they must be the same."
        )
    return areas


def average_quality(
    counts: Mapping[int, CategoryCounts], categories: Iterable[int]
) -> PanopticQuality:
    """Mean panoptic, segmentation and recognition quality over the categories that occur."""
    qualities = []
    for category_id in categories:
        c = counts.get(category_id, CategoryCounts())
        denominator = c.tp + 0.5 * c.fp + 0.5 * c.fn
        if denominator:
            sq = c.iou / c.tp if c.tp else 0.0
            qualities.append((c.iou / denominator, sq, c.tp / denominator))
    if not qualities:
        return PanopticQuality(float("nan"), float("nan"), float("nan"), 0)
    pq, sq, rq = (sum(column) / len(qualities) for column in zip(*qualities, strict=True))
    return PanopticQuality(pq, sq, rq, len(qualities))
