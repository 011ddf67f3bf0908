"""Cityscapes' pixel-level protocol: IoU of classes and categories, and by instances (iIoU).

https://www.cityscapes-dataset.com/benchmarks/: of 34 label ids 19 are judged; pixels of the others
in the truth count nowhere, but predicting one of them on a judged pixel is a miss. iIoU weighs the
pixels of an instance by the average size of its class over its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from seg_projects.errors import UserError
from seg_projects.evaluation.confusion import confusion_matrix, mean, ratio
from seg_projects.evaluation.scores import Scores

NUM_LABELS = 34
NAMES = {c["id"]: c["name"] for c in CITYSCAPES_CATEGORIES}
"""Of the labels that are judged."""
LABEL_IDS = {name: label for label, name in NAMES.items()} | {
    "license plate": -1,
    "unlabeled": 0,
    "ego vehicle": 1,
    "rectification border": 2,
    "out of roi": 3,
    "static": 4,
    "dynamic": 5,
    "ground": 6,
    "parking": 9,
    "rail track": 10,
    "guard rail": 14,
    "bridge": 15,
    "tunnel": 16,
    "polegroup": 18,
    "caravan": 29,
    "trailer": 30,
}
"""Of all labels."""
CATEGORIES = {
    "flat": [7, 8],
    "construction": [11, 12, 13],
    "object": [17, 19, 20],
    "nature": [21, 22],
    "sky": [23],
    "human": [24, 25],
    "vehicle": [26, 27, 28, 31, 32, 33],
}
INSTANCE_CATEGORIES = {"human": [24, 25], "vehicle": list(range(26, 34))}
"""With caravan and trailer: predicting one of them is right for the category."""
AVERAGE_SIZES = {
    24: 3462.4756337644,
    25: 3930.4788056518,
    26: 12794.0202738185,
    27: 27855.1264367816,
    28: 35732.1511111111,
    31: 67583.7075812274,
    32: 6298.7200839748,
    33: 4672.3249222261,
}
"""Pixels of an instance of the judged things, published with the benchmark."""


class CityscapesCounts(NamedTuple):
    """What one image, or many, added up, say."""

    confusion: np.ndarray  # (34, 34) pixels, rows are the truth
    hits: np.ndarray  # (34,) weighted pixels of instances with their class
    in_category: np.ndarray  # (34,) weighted pixels of instances with a class of their category
    total: np.ndarray  # (34,) weighted pixels of instances


def cityscapes_counts(
    truth: np.ndarray, instances: np.ndarray, predicted: np.ndarray
) -> CityscapesCounts:
    """Counts of one image.

    Args:
        truth: (H, W) label ids in [0, 34).
        instances: (H, W) instance ids: above 1000, label id * 1000 + a number.
        predicted: (H, W) label ids in [0, 34).

    Raises:
        UserError: the sizes differ, or an id is out of range.
    """
    if truth.size and not 0 <= truth.min() <= truth.max() < NUM_LABELS:
        raise UserError(f"The truth has label ids outside 0 to {NUM_LABELS - 1}.")
    if instances.shape != truth.shape:
        raise UserError(f"The instance ids have the size {instances.shape}, not {truth.shape}.")
    confusion = confusion_matrix(truth, predicted, NUM_LABELS)
    countable = instances > 1000
    found = predicted[countable]
    ids, places, sizes = np.unique(instances[countable], return_inverse=True, return_counts=True)
    labels = ids.astype(np.int64) // 1000
    same = found == labels[places]
    group = np.zeros(NUM_LABELS, dtype=np.int8)
    for number, members in enumerate(INSTANCE_CATEGORIES.values(), start=1):
        group[members] = number
    judged = np.isin(labels, list(AVERAGE_SIZES))
    labels = labels[judged]
    known = np.where(judged, ids // 1000, 0)
    alike = group[found] == group[known][places]
    weights = np.array([AVERAGE_SIZES[label] for label in labels.tolist()]) / sizes[judged]
    sums = []
    for pixels in (same, alike, np.ones_like(same)):
        right = np.bincount(places, weights=pixels, minlength=len(ids))[judged]
        sums.append(np.bincount(labels, weights=right * weights, minlength=NUM_LABELS))
    return CityscapesCounts(confusion, *sums)


def no_counts() -> CityscapesCounts:
    """Those of no image."""
    confusion = np.zeros((NUM_LABELS, NUM_LABELS), dtype=np.int64)
    return CityscapesCounts(confusion, *np.zeros((3, NUM_LABELS)))


def total_counts(parts: Sequence[CityscapesCounts]) -> CityscapesCounts:
    """Those of several images together."""
    confusion, hits, in_category, total = (
        np.sum(part, axis=0) for part in zip(*parts, strict=True)
    )
    return CityscapesCounts(confusion, hits, in_category, total)


def cityscapes_scores(counts: CityscapesCounts) -> Scores:
    """IoU and iIoU in percent of classes and categories, NaN where undefined.

    The summary has ``mIoU`` and ``miIoU`` of the classes, ``mIoU_category`` and
    ``miIoU_category``; ``per_category`` holds classes and categories.
    """
    judged = sorted(NAMES)
    rows = {NAMES[label]: _row(counts, [label], [label], counts.hits) for label in judged}
    classes = list(rows)
    for name, members in CATEGORIES.items():
        columns = INSTANCE_CATEGORIES.get(name, members)
        rows[name] = _row(counts, members, columns, counts.in_category)
    summary = {}
    for suffix, names in (("", classes), ("_category", list(CATEGORIES))):
        for key in ("IoU", "iIoU"):
            values = np.array([rows[name][key] for name in names])
            summary[f"m{key}{suffix}"] = mean(values[~np.isnan(values)])
    labelled = counts.confusion[judged].any()
    notes = [] if labelled else ["The truth labels no judged pixel: every IoU is undefined (NaN)."]
    return Scores(summary=summary, per_category=rows, notes=notes)


def _row(
    counts: CityscapesCounts, members: list[int], columns: list[int], weighted_hits: np.ndarray
) -> dict[str, float]:
    """Scores of the labels ``members`` together; instances also lose by other ``columns``."""
    others = [label for label in NAMES if label not in members]
    rows = counts.confusion[members]
    wrong, wrong_instances = (counts.confusion[others][:, c].sum() for c in (members, columns))
    iou, by_instances = _iou(rows[:, members].sum(), rows.sum(), wrong), float("nan")
    if all(label in AVERAGE_SIZES for label in members):
        by_instances = _iou(
            weighted_hits[members].sum(), counts.total[members].sum(), wrong_instances
        )
    return {"IoU": iou, "iIoU": by_instances}


def _iou(hits: float, total: float, wrong: float) -> float:
    """In percent; ``total`` pixels of the truth and ``wrong`` ones that were taken for it."""
    return 100 * float(ratio(np.array([hits]), np.array([total + wrong]))[0])
