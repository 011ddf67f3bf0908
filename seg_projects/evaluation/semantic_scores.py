"""From the tables of single images to the scores of all, and the images that are worst."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from seg_projects.evaluation.scores import Scores
from seg_projects.evaluation.semantic_metrics import (
    LOWER_IS_BETTER,
    LabelPair,
    SemanticMetric,
)
from seg_projects.evaluation.worst_images import WorstImages


def compact(counts: np.ndarray) -> np.ndarray:
    """Whole numbers in 4 bytes: an image has fewer pixels than that holds."""
    return counts.astype(np.int32) if counts.dtype.kind in "iu" else counts


def semantic_scores(
    tables: Mapping[Any, Sequence[np.ndarray]],
    metrics: Sequence[SemanticMetric],
    names: Sequence[str],
    file_name: Callable[[Any], str],
    *,
    num_worst: int,
) -> Scores:
    """Scores of a data set.

    Args:
        tables: by image id, of each metric what it counts, as :func:`compact` gives it.
        metrics: what was measured.
        names: the K classes.
        file_name: of an image id.
        num_worst: images that are named per metric.
    """
    scores = Scores(summary={}, per_category={name: {} for name in names})
    worst = WorstImages(num_worst, lower_is_better=LOWER_IS_BETTER)
    no_pixel = np.zeros((0, 1), dtype=np.uint8)
    for index, metric in enumerate(metrics):
        total = metric.count(LabelPair(no_pixel, no_pixel, len(names)))
        for image_id, of_metrics in tables.items():
            counts = of_metrics[index].astype(total.dtype)
            total = total + counts
            worst.add(image_id, file_name(image_id), metric.scores(counts).means)
        of_all = metric.scores(total)
        scores.summary.update(of_all.means)
        for key, values in of_all.per_class.items():
            for name, value in zip(names, values, strict=True):
                scores.per_category[name][key] = float(value)
        if tables:
            scores.notes.extend(metric.notes(total, names))
    if not tables:
        scores.notes.append("No image was evaluated: every score is undefined (NaN).")
    scores.worst_images.update(worst.as_json())
    return scores
