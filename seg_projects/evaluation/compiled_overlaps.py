"""IoUs of boxes and masks in compiled loops; masks as runs of pixels, none of them decoded.

Needs numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
) -> tuple[Pairs, np.ndarray]:
    """Pairs by the IoU of compressed COCO RLEs, and (D,) areas of ``masks`` in pixels."""
    from seg_projects.evaluation import precision_kernels

    truth_runs = precision_kernels.decode_runs(*_encoded(truth_masks))
    *pairs, area = precision_kernels.overlapping_masks(
        *_encoded(masks),
        truth_runs,
        truths.crowd,
        *partners(truths, detections),
        IOU_THRESHOLDS[0],
    )
    return Pairs(*pairs), area.astype(np.float64)


class _Encoded(NamedTuple):
    """Compressed RLEs side by side."""

    text: np.ndarray  # (C,) uint8
    offsets: np.ndarray  # (M + 1,) where each mask begins
    heights: np.ndarray  # (M,) of the images


def _encoded(masks: Sequence[dict[str, Any]]) -> _Encoded:
    counts = [mask["counts"] for mask in masks]
    encoded = [c if isinstance(c, bytes) else c.encode() for c in counts]
    text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    offsets = np.zeros(len(masks) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), dtype=np.int64, count=len(masks)), out=offsets[1:])
    heights = np.fromiter((mask["size"][0] for mask in masks), dtype=np.int64, count=len(masks))
    return _Encoded(text, offsets, heights)
