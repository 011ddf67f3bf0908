"""How far the outlines of a class lie apart in two label maps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from seg_projects.evaluation.label_boundaries import comparable_labels

CHUNK = 1 << 20
"""Distances that are held at once."""


class SurfaceDistances(NamedTuple):
    """Distances of two outlines, in the unit of the spacing; NaN where one of them is empty."""

    maximum: float
    """Hausdorff distance: the farthest that a pixel of either is from the other."""
    percentile_95: float
    """The distance that 95 % of the pixels of both outlines, pooled, stay within."""
    average: float
    """Average symmetric surface distance: the mean over the pixels of both outlines, pooled."""


def surface(mask: np.ndarray) -> np.ndarray:
    """Outline (M, 2) of a mask (H, W) bool: rows and columns of its pixels beside the outside.

    Unlike a contour between classes, the frame of the image belongs to it: a mask that is cut off
    there ends there.
    """
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)


def surface_distances(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistances:
    """Distances between the outlines of two masks (H, W) bool; the order does not matter.

    Args:
        first: a mask.
        second: another one.
        spacing: height and width of a pixel, such as in millimetres.
    """
    sides = surface(first), surface(second)
    if not all(len(points) for points in sides):
        return SurfaceDistances(math.nan, math.nan, math.nan)
    distances = np.concatenate(
        [_nearest(sides[0], sides[1], spacing), _nearest(sides[1], sides[0], spacing)]
    )
    return SurfaceDistances(
        float(distances.max()), float(np.percentile(distances, 95)), float(distances.mean())
    )


def _nearest(points: np.ndarray, others: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Distance (N,) from each of ``points`` (N, 2) to the nearest of ``others`` (M, 2), exact.

    First along each column, then over the columns, as in a distance transform, but only for the
    rows and columns that occur.
    """
    top = min(points[:, 0].min(), others[:, 0].min())
    rows, own_rows = others[:, 0] - top, points[:, 0] - top
    columns, column_of = np.unique(others[:, 1], return_inverse=True)
    vertical = _distances_in_columns(rows, column_of, max(rows.max(), own_rows.max()) + 1)
    vertical = (vertical * spacing[0]) ** 2
    result = np.empty(len(points))
    step = max(1, CHUNK // len(columns))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        horizontal = (points[part, 1, None] - columns) * spacing[1]
        result[part] = (horizontal**2 + vertical[own_rows[part]]).min(axis=1)
    return np.sqrt(result)


def _distances_in_columns(rows: np.ndarray, columns: np.ndarray, height: int) -> np.ndarray:
    """(height, C) float64: rows from each place to the nearest of the points in its column."""
    grid = np.full((height, columns.max() + 1), np.inf)
    grid[rows, columns] = rows
    here = np.arange(height)[:, None]
    above = np.maximum.accumulate(np.where(np.isinf(grid), -np.inf, grid), axis=0)
    below = np.minimum.accumulate(grid[::-1], axis=0)[::-1]
    return np.minimum(here - above, below - here)


def surface_counts(
    truth: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Sums (6, K) float64 of which the means of surface distances follow, class by class.

    The rows: 1 where both sides have the class, and there the Hausdorff distance, its 95th
    percentile and the average; 1 where one side alone has it, and there the diagonal of the image,
    which no distance exceeds. Over several images, the rows add up.

    Args:
        truth: (H, W) classes; those outside [0, K) are ignored.
        predicted: (H, W) classes in [0, K).
        num_classes: K.
        spacing: height and width of a pixel.
    """
    truth, predicted = comparable_labels(truth, predicted, num_classes)
    counts = np.zeros((6, num_classes))
    height, width = truth.shape
    diagonal = math.hypot(height * spacing[0], width * spacing[1])
    in_truth, in_prediction = (set(np.unique(x[x >= 0]).tolist()) for x in (truth, predicted))
    for label in in_truth & in_prediction:
        counts[0, label] = 1
        counts[1:4, label] = surface_distances(truth == label, predicted == label, spacing)
    one_sided = sorted(in_truth ^ in_prediction)
    counts[4, one_sided] = 1
    counts[5, one_sided] = diagonal
    return counts
