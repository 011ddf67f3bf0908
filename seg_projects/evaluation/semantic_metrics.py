"""What semantic segmentation is measured by: counts of one image, that add up, and their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np

from seg_projects.errors import UserError
from seg_projects.evaluation.confusion import (
    absence_notes,
    class_counts,
    class_scores,
    confusion_matrix,
    mean,
    mean_scores,
    ratio,
)
from seg_projects.evaluation.label_boundaries import boundary_f1_counts, boundary_iou_counts
from seg_projects.evaluation.surface_distances import surface_counts


class MetricScores(NamedTuple):
    """Scores by name; NaN where undefined."""

    means: dict[str, float]
    per_class: dict[str, np.ndarray]  # each (K,)


class LabelPair(NamedTuple):
    """The label maps of one image."""

    truth: np.ndarray  # (H, W) classes; those outside [0, K) are ignored
    predicted: np.ndarray  # (H, W) classes in [0, K)
    num_classes: int
    spacing: tuple[float, float] | None = None  # height and width of a pixel, where known


class SemanticMetric(Protocol):
    """A small table of numbers per image and class, of which sums over images are all it needs."""

    def count(self, pair: LabelPair) -> np.ndarray:
        """(R, K) numbers of one image."""

    def scores(self, counts: np.ndarray) -> MetricScores:
        """The scores of (R, K) numbers, of one image or added up over many."""

    def notes(self, counts: np.ndarray, names: Sequence[str]) -> list[str]:
        """What a reader has to know of undefined numbers, in sentences."""


@dataclass(frozen=True, slots=True)
class PixelMetric:
    """Everything that follows from the confusion matrix, as in :func:`mean_scores`.

    Per class ``IoU``, ``ACC`` (recall), ``Dice`` and ``precision``; as in Detectron2, ``IoU`` is
    NaN for a class that the truth does not hold.
    """

    def count(self, pair: LabelPair) -> np.ndarray:
        """(3, K) as of :func:`class_counts`."""
        return class_counts(confusion_matrix(*pair[:3]))

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

    def notes(self, counts: np.ndarray, names: Sequence[str]) -> list[str]:
        """Of classes that the truth does not hold."""
        return absence_notes(counts, names)


@dataclass(frozen=True, slots=True)
class BoundaryF1:
    """Boundary F1, ``BF1``: harmonic mean of the shares of contour pixels that have a counterpart.

    The contour pixels of all images are pooled, as the pixels are for IoU; ``mBF1`` is the mean
    over the classes that have a contour in the truth. ``BF1_images`` is the mean over the images in
    which a class has a contour on either side, ``mBF1_images`` that over images of the mean over
    the classes of each (Csurka et al., BMVC 2013).
    """

    tolerance: float = 0.0075  # distance of counterparts by the image's diagonal

    def count(self, pair: LabelPair) -> np.ndarray:
        """(8, K) float64: as of :func:`boundary_f1_counts`, then what images add to their means.

        These are the image's F1 and 1 where there is one, and both by the classes that have one.
        """
        counts = boundary_f1_counts(*pair[:3], fraction=self.tolerance)
        f1 = _boundary_f1(counts)
        has_one = ~np.isnan(f1)
        of_image = np.stack([np.where(has_one, f1, 0.0), has_one])
        return np.concatenate([counts, of_image, of_image / max(1, has_one.sum())])

    def scores(self, counts: np.ndarray) -> MetricScores:
        """In percent; a class with a contour on one side alone scores 0."""
        f1, of_images = _boundary_f1(counts), ratio(counts[4], counts[5])
        share, images = counts[6:].sum(axis=1)
        means = {
            "mBF1": 100 * mean(f1[counts[3] > 0]),
            "mBF1_images": 100 * float(share / images) if images else math.nan,
        }
        return MetricScores(means, {"BF1": 100 * f1, "BF1_images": 100 * of_images})

    def notes(self, counts: np.ndarray, names: Sequence[str]) -> list[str]:
        """Where there is no contour."""
        if counts[3].any():
            return []
        return [
            "mBF1 is undefined (NaN): no class has a contour in the truth; "
            f"{int(counts[1].sum())} pixels of predicted contours."
        ]


def _boundary_f1(counts: np.ndarray) -> np.ndarray:
    """(K,) in [0, 1] of the first four rows of ``counts``; NaN without a contour on either side."""
    precision, recall = ratio(counts[0], counts[1]), ratio(counts[2], counts[3])
    total = precision + recall
    f1 = np.where(total > 0, ratio(2 * precision * recall, total), 0.0)
    f1[(counts[1] == 0) & (counts[3] == 0)] = np.nan
    return f1


@dataclass(frozen=True, slots=True)
class BoundaryIoU:
    """Boundary IoU, ``BIoU``: IoU of the bands along the inner sides of the contours.

    ``mBIoU`` is the mean over the classes that the truth holds.
    """

    width: float = 0.02  # of the bands by the image's diagonal

    def count(self, pair: LabelPair) -> np.ndarray:
        """(3, K) as of :func:`boundary_iou_counts`."""
        return boundary_iou_counts(*pair[:3], fraction=self.width)

    def scores(self, counts: np.ndarray) -> MetricScores:
        """In percent; NaN where the class is on neither side."""
        both, truth, predicted = counts
        iou = 100 * ratio(both, truth + predicted - both)
        return MetricScores({"mBIoU": mean(iou[truth > 0])}, {"BIoU": iou})

    def notes(self, counts: np.ndarray, names: Sequence[str]) -> list[str]:
        """Where nothing is labelled."""
        return [] if counts[1].any() else ["mBIoU is undefined (NaN): the truth labels no pixel."]


@dataclass(frozen=True, slots=True)
class SurfaceDistance:
    """Distances between outlines: Hausdorff ``HD``, ``HD95`` and the average ``ASSD``.

    Per class the mean over the images where truth and prediction both have it, which says nothing
    of a class that is missed or invented; therefore ``one_sided``, the number of images where one
    side alone has it, and ``HD_diagonal``, ``HD95_diagonal``, ``ASSD_diagonal``, in which such an
    image counts as its diagonal. NaN where no image counts; means over the classes with a number.

    The unit is that of ``spacing`` (height, width), such as millimetres; a data set's record may
    hold its image's under that name; pixels otherwise.
    """

    spacing: tuple[float, float] = (1.0, 1.0)

    def count(self, pair: LabelPair) -> np.ndarray:
        """(6, K) as of :func:`surface_counts`."""
        height, width = pair.spacing or self.spacing
        return surface_counts(*pair[:3], (height, width))

    def scores(self, counts: np.ndarray) -> MetricScores:
        """Distances, not percent: lower is better."""
        both, one_sided, diagonals = counts[0], counts[4], counts[5]
        per_class = {}
        for name, sums in zip(("HD", "HD95", "ASSD"), counts[1:4], strict=True):
            per_class[name] = ratio(sums, both)
            per_class[f"{name}_diagonal"] = ratio(sums + diagonals, both + one_sided)
        means = {f"m{name}": mean(v[~np.isnan(v)]) for name, v in per_class.items()}
        return MetricScores(means, per_class | {"one_sided": one_sided})

    def notes(self, counts: np.ndarray, names: Sequence[str]) -> list[str]:
        """How many distances there are none of."""
        missing = int(counts[4].sum())
        if not counts[0].any():
            return [
                "mHD, mHD95 and mASSD are undefined (NaN): in no image truth and prediction hold "
                f"the same class; {missing} times one side alone holds one."
            ]
        if missing:
            return [
                f"{missing} times one side alone holds a class of an image: HD, HD95 and ASSD "
                "leave these out, HD_diagonal and the like count them as the image's diagonal."
            ]
        return []


Metric = type[BoundaryF1] | type[BoundaryIoU] | type[SurfaceDistance]
METRICS: dict[str, Metric] = {
    "boundary_f1": BoundaryF1,
    "boundary_iou": BoundaryIoU,
    "surface_distance": SurfaceDistance,
}
LOWER_IS_BETTER = {
    f"m{name}{suffix}" for name in ("HD", "HD95", "ASSD") for suffix in ("", "_diagonal")
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


def _name_and_options(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], dict):
        return entry[0], entry[1]
    raise UserError(
        f"TEST.SEMANTIC_METRICS holds {entry!r}; an entry is a name or [name, {{option: value}}]."
    )
