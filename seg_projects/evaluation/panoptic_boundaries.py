"""Boundary PQ: segments match by the smaller of mask IoU and boundary IoU (arXiv:2103.16562).

The boundary of a segment are its pixels within a distance of its contour, the image's border
being part of that. Those of all segments are found at once: cost does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seg_projects.errors import UserError
from seg_projects.evaluation.panoptic_quality import (
    Overlaps,
    PanopticCounts,
    SegmentPairs,
    match_segments,
    pair_histogram,
    pixel_table,
)


def check_boundary_share(share: float) -> None:
    """Raises a UserError where ``share`` is no share of an image's diagonal; 0 is none at all."""
    if not 0 <= share < 1:
        raise UserError(
            f"The boundary share {share} is outside [0, 1): the reach of a boundary by the image's "
            "diagonal; 0.02 is usual, 0 leaves boundaries out."
        )


def boundary_distance(size: tuple[int, int], share: float) -> int:
    """``share`` of the diagonal of an image of ``size`` (height, width), in whole pixels >= 1."""
    return max(1, round(share * float(np.hypot(*size))))


def boundary_pixels(ids: np.ndarray, distance: int) -> np.ndarray:
    """(H, W) bool: pixels around which the square of 2 ``distance`` + 1 leaves their segment.

    Args:
        ids: (H, W) segment ids.
        distance: in pixels, at least 1.
    """
    import cv2

    result = np.ones(ids.shape, dtype=bool)
    if min(ids.shape) <= 2 * distance:
        return result
    # A square holds one id where no two neighbours within it differ. Change i lies between the
    # pixels i and i + 1.
    across = (ids[:, 1:] != ids[:, :-1]).view(np.uint8)
    down = (ids[1:] != ids[:-1]).view(np.uint8)
    even, odd = 2 * distance, 2 * distance + 1
    anchor = (distance, distance)
    near_across = cv2.dilate(across, np.ones((odd, even), np.uint8), anchor=anchor)
    near_down = cv2.dilate(down, np.ones((even, odd), np.uint8), anchor=anchor)
    rows, columns = ids.shape
    inner = (slice(distance, rows - distance), slice(distance, columns - distance))
    result[inner] = near_across[inner] | near_down[inner]
    return result


def boundary_overlaps(
    truth_ids: np.ndarray,
    truth_segments: Sequence[Mapping[str, Any]],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[Mapping[str, Any]],
    column: Mapping[int, int],
    *,
    share: float,
) -> Overlaps:
    """How the boundaries of the segments of two (H, W) maps overlap.

    Args:
        truth_ids: as of :func:`panoptic_counts`, and so are those up to ``column``.
        truth_segments: likewise.
        predicted_ids: likewise.
        predicted_segments: likewise.
        column: likewise.
        share: distance from the contour as a share of the image's diagonal.
    """
    distance = boundary_distance(truth_ids.shape, share)
    on_truth, on_predicted = (boundary_pixels(m, distance) for m in (truth_ids, predicted_ids))

    def table(pixels: np.ndarray) -> np.ndarray:
        histogram = pair_histogram(truth_ids[pixels], predicted_ids[pixels])
        return pixel_table(histogram, truth_segments, predicted_segments, column)

    predicted = table(on_predicted)
    return Overlaps(
        table(on_truth & on_predicted)[1:-1, 1:-1],
        table(on_truth)[1:-1].sum(axis=1),
        predicted[:, 1:-1].sum(axis=0),
        predicted[0, 1:-1],
    )


def boundary_counts(pairs: SegmentPairs, boundaries: Overlaps, num_columns: int) -> PanopticCounts:
    """The counts of boundary PQ: matched are pairs both of whose IoUs are above 0.5."""
    return match_segments(pairs, np.minimum(pairs.overlaps.iou, boundaries.iou), num_columns)
