"""What semantic segmentation is measured by: counts of one image, that add up, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np

from seg_projects.errors import UserError
from seg_projects.evaluation.confusion import (
    class_counts,
    class_scores,
    confusion_matrix,
    mean,
    mean_scores,
    ratio,
)
from seg_projects.evaluation.label_boundaries import boundary_f1_counts, boundary_iou_counts


class MetricScores(NamedTuple):
    """Scores by name; NaN where undefined."""

    means: dict[str, float]
    per_class: dict[str, np.ndarray]  # each (K,)


class SemanticMetric(Protocol):
    """A small table of numbers per image and class, of which sums over images are all it needs."""

    def count(self, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
        """(R, K) numbers of one image; truth outside [0, K) is ignored."""

    def scores(self, counts: np.ndarray) -> MetricScores:
        """The scores of (R, K) numbers, of one image or added up over many."""


@dataclass(frozen=True, slots=True)
class PixelMetric:
    """Everything that follows from the confusion matrix, as in :func:`mean_scores`.

    Per class ``IoU``, ``ACC`` (recall), ``Dice`` and ``precision``; as in Detectron2, ``IoU`` is
    NaN for a class that the truth does not hold.
    """

    def count(self, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
        """(3, K) as of :func:`class_counts`."""
        return class_counts(confusion_matrix(truth, predicted, num_classes))

    def scores(self, counts: np.ndarray) -> MetricScores:
        """In percent."""
        values = class_scores(counts)
        per_class = {
            "IoU": np.where(counts[1] > 0, values["IoU"], np.nan),
            "ACC": values["recall"],
            "Dice": values["Dice"],
            "precision": values["precision"],
        }
        return MetricScores(mean_scores(counts), per_class)


@dataclass(frozen=True, slots=True)
class BoundaryF1:
    """Boundary F1, ``BF1``: harmonic mean of the shares of contour pixels that have a counterpart.

    The contour pixels of all images are pooled, as the pixels are for IoU; ``mBF1`` is the mean
    over the classes that have a contour in the truth.
    """

    tolerance: float = 0.0075  # distance of counterparts by the image's diagonal

    def count(self, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
        """(4, K) as of :func:`boundary_f1_counts`."""
        return boundary_f1_counts(truth, predicted, num_classes, fraction=self.tolerance)

    def scores(self, counts: np.ndarray) -> MetricScores:
        """In percent; a class with a contour on one side alone scores 0."""
        precision, recall = ratio(counts[0], counts[1]), ratio(counts[2], counts[3])
        total = precision + recall
        f1 = np.where(total > 0, ratio(2 * precision * recall, total), 0.0)
        f1[(counts[1] == 0) & (counts[3] == 0)] = np.nan
        return MetricScores({"mBF1": 100 * mean(f1[counts[3] > 0])}, {"BF1": 100 * f1})


@dataclass(frozen=True, slots=True)
class BoundaryIoU:
    """Boundary IoU, ``BIoU``: IoU of the bands along the inner sides of the contours.

    ``mBIoU`` is the mean over the classes that the truth holds.
    """

    width: float = 0.02  # of the bands by the image's diagonal

    def count(self, truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
        """(3, K) as of :func:`boundary_iou_counts`."""
        return boundary_iou_counts(truth, predicted, num_classes, fraction=self.width)

    def scores(self, counts: np.ndarray) -> MetricScores:
        """In percent; NaN where the class is on neither side."""
        both, truth, predicted = counts
        iou = 100 * ratio(both, truth + predicted - both)
        return MetricScores({"mBIoU": mean(iou[truth > 0])}, {"BIoU": iou})


METRICS: dict[str, type[BoundaryF1] | type[BoundaryIoU]] = {
    "boundary_f1": BoundaryF1,
    "boundary_iou": BoundaryIoU,
}


def build_semantic_metrics(entries: Sequence[Any]) -> list[SemanticMetric]:
    """The metrics that ``TEST.SEMANTIC_METRICS`` names, after those of pixels.

    Args:
        entries: each a name in ``METRICS``, or [name, {option: value}].

    Raises:
        UserError: a name or an option is unknown.
    """
    metrics: list[SemanticMetric] = [PixelMetric()]
    for entry in entries:
        name, options = (entry, {}) if isinstance(entry, str) else _name_and_options(entry)
        if name not in METRICS:
            raise UserError(f"TEST.SEMANTIC_METRICS names {name!r}; known: {', '.join(METRICS)}.")
        try:
            metrics.append(METRICS[name](**options))
        except TypeError:
            known = ", ".join(field.name for field in fields(METRICS[name]))
            raise UserError(
                f"TEST.SEMANTIC_METRICS: {name} has the options {list(options)}; known: {known}."
            ) from None
    return metrics


def _name_and_options(entry: Any) -> tuple[str, dict[str, float]]:
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], dict):
        return entry[0], entry[1]
    raise UserError(
        f"TEST.SEMANTIC_METRICS holds {entry!r}; an entry is a name or [name, {{option: value}}]."
    )
