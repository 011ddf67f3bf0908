"""IoUs of boxes and masks in compiled loops; masks as runs of pixels, none of them decoded.

Needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_projects.evaluation.average_precision import (
    IOU_THRESHOLDS,
    Detections,
    Pairs,
    Truths,
    partners,
)


def overlapping_boxes(
    truths: Truths, truth_boxes: np.ndarray, detections: Detections, boxes: np.ndarray
) -> Pairs:
    """Pairs by the IoU of boxes (N, 4) x, y, width, height, as :func:`box_pairs` gives them."""
    from seg_projects.evaluation import precision_kernels

    found = precision_kernels.overlapping_boxes(
        boxes, truth_boxes, truths.crowd, *partners(truths, detections), IOU_THRESHOLDS[0]
    )
    return Pairs(*found)


def overlapping_masks(
    truths: Truths,
    truth_masks: Sequence[dict[str, Any]],
    detections: Detections,
    masks: Sequence[dict[str, Any]],
    kept: np.ndarray,
) -> tuple[Pairs, np.ndarray]:
    """Pairs by the IoU of compressed COCO RLEs, and (D,) areas in pixels of the detections.

    The masks of the detections are the ``kept`` (D,) of ``masks``.
    """
    from seg_projects.evaluation import precision_kernels

    heights = np.array([mask["size"][0] for mask in truth_masks], dtype=np.int64)
    truth_runs = precision_kernels.decode_runs(*_encoded(truth_masks), heights)
    *pairs, area = precision_kernels.overlapping_masks(
        *_encoded(masks),
        kept,
        heights,
        truth_runs,
        truths.crowd,
        *partners(truths, detections),
        IOU_THRESHOLDS[0],
    )
    return Pairs(*pairs), area.astype(np.float64)


def _encoded(masks: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """(C,) uint8, compressed RLEs side by side; (M + 1,) where each begins."""
    counts = [mask["counts"] for mask in masks]
    try:
        text = b"".join(counts)
    except TypeError:  # as text, out of a JSON
        counts = [c if isinstance(c, bytes) else c.encode() for c in counts]
        text = b"".join(counts)
    offsets = np.zeros(len(masks) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, counts), dtype=np.int64, count=len(masks)), out=offsets[1:])
    return np.frombuffer(text, dtype=np.uint8), offsets
