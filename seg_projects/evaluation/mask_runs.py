"""Masks as runs of pixels down the columns: their areas and IoUs without decoding a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seg_projects.evaluation.average_precision import (
    IOU_THRESHOLDS,
    Detections,
    Pairs,
    Truths,
    candidate_pairs,
)


class MaskRuns(NamedTuple):
    """The foreground of M masks; runs of mask m are those from ``first[m]`` to ``first[m + 1]``."""

    first: np.ndarray  # (M + 1,)
    starts: np.ndarray  # (S,) in pixels down the columns
    stops: np.ndarray  # (S,)
    boxes: np.ndarray  # (M, 4) x0, y0, x1, y1
    area: np.ndarray  # (M,) pixels


def decode_masks(masks: Sequence[dict[str, Any]]) -> MaskRuns:
    """The runs of compressed COCO RLEs; needs numba."""
    from seg_projects.evaluation import precision_kernels

    counts = [mask["counts"] for mask in masks]
    encoded = [c.encode() if isinstance(c, str) else c for c in counts]
    text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    offsets = np.zeros(len(masks) + 1, dtype=np.int64)
    np.cumsum([len(c) for c in encoded], out=offsets[1:])
    # The last character of a number has no continuation bit.
    numbers = np.zeros(len(text) + 1, dtype=np.int64)
    np.cumsum((text - 48) & 32 == 0, out=numbers[1:])
    first = np.zeros(len(masks) + 1, dtype=np.int64)
    np.cumsum(np.diff(numbers[offsets]) // 2, out=first[1:])
    heights = np.array([mask["size"][0] for mask in masks], dtype=np.int64)
    starts, stops, area, boxes = precision_kernels.decode_runs(text, offsets, first, heights)
    return MaskRuns(first, starts, stops, boxes, area)


def run_pairs(
    truths: Truths, truth_masks: MaskRuns, detections: Detections, masks: MaskRuns
) -> Pairs:
    """Pairs by the IoU of masks; needs numba."""
    from seg_projects.evaluation import precision_kernels

    parts = []
    for detection, truth in candidate_pairs(truths, detections):
        shared = precision_kernels.shared_pixels(masks[:4], truth_masks[:4], detection, truth)
        union = masks.area[detection] + np.where(
            truths.crowd[truth], 0, truth_masks.area[truth] - shared
        )
        iou = np.divide(shared, union, out=np.zeros(len(shared)), where=shared > 0)
        keep = iou >= IOU_THRESHOLDS[0]
        parts.append(Pairs(detection[keep], truth[keep], iou[keep]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
