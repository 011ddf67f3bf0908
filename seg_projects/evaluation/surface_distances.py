"""How far the outlines of a class lie apart in two label maps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from seg_projects.evaluation.label_boundaries import NO_CLASS, comparable_labels, contour


class SurfaceDistances(NamedTuple):
    """Distances of two outlines, in the unit of the spacing; NaN where one of them is empty."""

    maximum: float
    """Hausdorff distance: the farthest that a pixel of either is from the other."""
    percentile_95: float
    """The distance that 95 % of the pixels of both outlines, pooled, stay within."""
    average: float
    """Average symmetric surface distance: the mean over the pixels of both outlines, pooled."""


def outline(labels: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool with another label, or the outside of the image, at a side.

    Unlike a contour between classes, the frame of the image belongs to it: a region that is cut
    off there ends there.
    """
    edge = contour(labels)
    edge[:1] = edge[-1:] = edge[:, :1] = edge[:, -1:] = True
    return edge


def surface(mask: np.ndarray) -> np.ndarray:
    """Outline (M, 2) of a mask (H, W) bool: rows and columns of its pixels beside the outside."""
    return np.argwhere(outline(mask) & mask)


def surface_distances(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistances:
    """Distances between the outlines of two masks (H, W) bool; the order does not matter.

    Args:
        first: a mask.
        second: another one.
        spacing: height and width of a pixel, such as in millimetres.
    """
    return outline_distances(surface(first), surface(second), spacing)


def outline_distances(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, float]
) -> SurfaceDistances:
    """Distances between two outlines, (N, 2) and (M, 2) rows and columns of pixels."""
    if not len(first) or not len(second):
        return SurfaceDistances(math.nan, math.nan, math.nan)
    distances = np.concatenate([_nearest(first, second, spacing), _nearest(second, first, spacing)])
    return SurfaceDistances(
        float(distances.max()), float(np.percentile(distances, 95)), float(distances.mean())
    )


def _nearest(points: np.ndarray, others: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Distance (N,) from each of ``points`` (N, 2) to the nearest of ``others`` (M, 2), exact.

    Column by column, from the point's own outwards; a point drops out as soon as none farther on
    can be nearer.
    """
    rows, columns = points[:, 0], points[:, 1] + 1  # column 0 and the last one stay empty
    height = max(rows.max(), others[:, 0].max()) + 1
    last = max(columns.max(), others[:, 1].max() + 1) + 1
    places = np.sort((others[:, 1] + 1) * height + others[:, 0])
    # So that the place before and the one after any other exist; they are in no column of use.
    places = np.concatenate([[-1], places, [(last + 1) * height]])
    result = np.full(len(points), np.inf)
    waiting = np.arange(len(points))
    for step in range(last):
        beside = (step * spacing[1]) ** 2
        waiting = waiting[result[waiting] > beside]
        if not waiting.size:
            break
        row, column, best = rows[waiting], columns[waiting], result[waiting]
        for there in ((column - step).clip(0), (column + step).clip(max=last)):
            target = there * height + row
            after = np.searchsorted(places, target)
            for place in (places[after], places[after - 1]):
                vertical = np.where(place // height == there, (place - target) * spacing[0], np.inf)
                np.minimum(best, vertical**2 + beside, out=best)
        result[waiting] = best
    return np.sqrt(result)


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
    in_truth, in_prediction = _outlines(truth), _outlines(predicted)
    for label in in_truth.keys() & in_prediction.keys():
        counts[0, label] = 1
        counts[1:4, label] = outline_distances(in_truth[label], in_prediction[label], spacing)
    one_sided = sorted(in_truth.keys() ^ in_prediction.keys())
    counts[4, one_sided] = 1
    counts[5, one_sided] = diagonal
    return counts


def _outlines(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Outlines (M, 2) by class, of those that occur."""
    points = np.argwhere(outline(labels) & (labels != NO_CLASS))
    classes = labels[points[:, 0], points[:, 1]]
    points = points[np.argsort(classes, kind="stable")]
    present, sizes = np.unique(classes, return_counts=True)
    # The last part is what follows the last class: nothing.
    parts = np.split(points, sizes.cumsum())
    return dict(zip(present.tolist(), parts[:-1], strict=True))
