"""Boundaries in label maps: contours, bands along them, and how well two maps agree there.

Pixels that the truth ignores belong to no class on either side, so that the edge of an ignored
region is an edge of both maps: it neither rewards nor punishes.
"""

from __future__ import annotations

import math

import numpy as np

NO_CLASS = -1


def pixels_of_diagonal(shape: tuple[int, ...], fraction: float) -> float:
    """Length in pixels of that ``fraction`` of the diagonal of an (H, W) image."""
    return fraction * math.hypot(*shape)


def comparable_labels(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both label maps (H, W) as int32, ``NO_CLASS`` where the truth is outside [0, K)."""
    if truth.shape != predicted.shape:
        raise ValueError(f"The prediction has the size {predicted.shape}, the truth {truth.shape}.")
    ignored = (truth < 0) | (truth >= num_classes)
    sides = []
    for labels in (truth, predicted):
        side = labels.astype(np.int32)
        side[ignored] = NO_CLASS
        sides.append(side)
    return sides[0], sides[1]


def contour(labels: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool with another label at one of their four neighbours in the image.

    The frame of the image is no contour: it lies where it does whatever is predicted.
    """
    edge = np.zeros(labels.shape, dtype=bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge


def boundary_band(labels: np.ndarray, distance: int) -> np.ndarray:
    """Pixels (H, W) bool within ``distance`` of another label or of the outside of the image.

    What an erosion of each class by a square of 2 ``distance`` + 1 pixels takes away, all classes
    at once (arXiv:2103.16562, Section 3).

    Args:
        labels: (H, W) integers in [-1, 32767).
        distance: in pixels, at least 1, over edges and corners alike.
    """
    import cv2

    if not labels.size:
        return np.zeros(labels.shape, dtype=bool)
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    values = labels.astype(np.int16)
    # A window that leaves the image has the outside as its maximum, so it holds two values.
    highest, lowest = (
        morphed(values, square, borderType=cv2.BORDER_CONSTANT, borderValue=np.iinfo(np.int16).max)
        for morphed in (cv2.dilate, cv2.erode)
    )
    return np.asarray(highest != lowest)


def boundary_iou_counts(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int, *, fraction: float = 0.02
) -> np.ndarray:
    """Pixels (3, K) int64 for the boundary IoU of each class (arXiv:2103.16562, Equation 3).

    The rows: pixels of the class within the bands of both maps, within that of the truth, within
    that of the prediction. Over several images, the rows add up.

    Args:
        truth: (H, W) classes; those outside [0, K) are ignored.
        predicted: (H, W) classes in [0, K).
        num_classes: K.
        fraction: width of the bands by the diagonal of the image; they have at least a pixel.
    """
    distance = max(1, round(pixels_of_diagonal(truth.shape, fraction)))
    truth, predicted = comparable_labels(truth, predicted, num_classes)
    in_truth = np.where(boundary_band(truth, distance), truth, NO_CLASS)
    in_prediction = np.where(boundary_band(predicted, distance), predicted, NO_CLASS)
    both = in_truth[in_truth == in_prediction]
    return np.stack([_class_sizes(x, num_classes) for x in (both, in_truth, in_prediction)])


def boundary_f1_counts(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int, *, fraction: float = 0.0075
) -> np.ndarray:
    """Contour pixels (4, K) int64 for the boundary F1 of each class (Csurka et al., BMVC 2013).

    The rows: contour pixels of the prediction that lie near the truth's contour of that class, all
    of them; contour pixels of the truth near the prediction's, all of them. Over several images,
    the rows add up.

    Args:
        truth: (H, W) classes; those outside [0, K) are ignored.
        predicted: (H, W) classes in [0, K).
        num_classes: K.
        fraction: Euclidean distance that is near, by the diagonal of the image.
    """
    radius = pixels_of_diagonal(truth.shape, fraction)
    truth, predicted = comparable_labels(truth, predicted, num_classes)
    true_edge = np.where(contour(truth), truth, NO_CLASS)
    found_edge = np.where(contour(predicted), predicted, NO_CLASS)
    rows = (
        _near(found_edge, true_edge, radius),
        found_edge,
        _near(true_edge, found_edge, radius),
        true_edge,
    )
    return np.stack([_class_sizes(row, num_classes) for row in rows])


def _near(edge: np.ndarray, other: np.ndarray, radius: float) -> np.ndarray:
    """Classes (M,) of the pixels of ``edge`` with the same class in ``other`` within ``radius``.

    Nearest places first: most pixels are found at once, the rest alone goes on.
    """
    reach = int(radius)
    padded = np.pad(other, reach, constant_values=NO_CLASS)
    rows, columns = np.nonzero(edge != NO_CLASS)
    classes = edge[rows, columns]
    places = (rows + reach) * padded.shape[1] + columns + reach
    flat, found = padded.reshape(-1), []
    for step in _steps_within(radius, padded.shape[1]):
        hit = flat[places + step] == classes
        if hit.any():
            found.append(classes[hit])
            places, classes = places[~hit], classes[~hit]
        if not places.size:
            break
    return np.concatenate(found) if found else classes[:0]


def _steps_within(radius: float, width: int) -> list[int]:
    """Steps in a flat image of that ``width`` to all places within ``radius``, nearest first."""
    reach = int(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    squared = dy**2 + dx**2
    order = np.argsort(squared, axis=None, kind="stable")
    inside = squared.reshape(-1)[order] <= radius**2
    return (dy * width + dx).reshape(-1)[order][inside].tolist()


def _class_sizes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(labels[labels != NO_CLASS], minlength=num_classes)
