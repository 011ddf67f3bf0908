"""Cityscapes' AP of instances: masks against instance ids, ten overlaps, regions that do not count.

https://www.cityscapes-dataset.com/benchmarks/: a prediction may lie on void, on a group or on an
instance of less than 100 pixels without being wrong; recall is integrated in steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from seg_projects.errors import UserError
from seg_projects.evaluation.cityscapes_semantic import AVERAGE_SIZES, NAMES
from seg_projects.evaluation.scores import Scores

OVERLAPS = np.arange(0.5, 1.0, 0.05)
LEAST_PIXELS = 100
FIRST_INSTANCE = 1000
VOID = [i for i in range(34) if i not in NAMES]
LABELS = sorted(AVERAGE_SIZES)
"""The things that are judged."""


class PredictedMask(NamedTuple):
    """One found instance."""

    label: int
    """Label id, such as 26 for a car."""
    score: float
    mask: np.ndarray  # (H, W) bool


class ImagePairs(NamedTuple):
    """Predictions (P,) and regions (G,) of the truth of one label in one image."""

    scores: np.ndarray  # (P,)
    iou: np.ndarray  # (P, G)
    is_instance: np.ndarray  # (G,) bool: to be found; else a group or too small
    ignored: np.ndarray  # (P,) share of the prediction on regions that do not count


def pair_image(
    instances: np.ndarray, predictions: Iterable[PredictedMask]
) -> dict[int, ImagePairs]:
    """What of one image is needed for AP, by label; of the masks one at a time is in memory.

    Args:
        instances: (H, W) instance ids; below 1000 label ids of stuff, void and groups.
        predictions: of any label; those that are not judged, and empty ones, are left out.

    Raises:
        UserError: a mask has another size.
    """
    ids, places, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    places = places.reshape(instances.shape)
    ids = ids.astype(np.int64)
    label_of = np.where(ids < FIRST_INSTANCE, ids, ids // FIRST_INSTANCE)
    found: dict[int, list[tuple[float, int, np.ndarray]]] = {label: [] for label in LABELS}
    for label, score, mask in predictions:
        if mask.shape != instances.shape:
            raise UserError(f"A mask has the size {mask.shape}, the truth {instances.shape}.")
        area = int(np.count_nonzero(mask))
        if label in found and area:
            found[label].append((score, area, np.bincount(places[mask], minlength=len(ids))))
    void = np.isin(ids, VOID)
    pairs = {}
    for label, rows in found.items():
        columns = np.flatnonzero(label_of == label)
        pixels = np.array([row[1] for row in rows], dtype=np.int64)
        shared = np.array([row[2] for row in rows], dtype=np.int64).reshape(len(rows), len(ids))
        group, small = ids[columns] < FIRST_INSTANCE, sizes[columns] < LEAST_PIXELS
        # A small group counts twice, as in the benchmark's own code.
        ignored = shared[:, void].sum(axis=1) + shared[:, columns] @ (group.astype(int) + small)
        both = shared[:, columns]
        pairs[label] = ImagePairs(
            np.array([row[0] for row in rows], dtype=np.float64),
            both / (pixels[:, None] + sizes[columns] - both),
            ~group & ~small,
            ignored / np.maximum(pixels, 1),
        )
    return pairs


class _Curve(NamedTuple):
    """What a label's precision and recall at one overlap follow from."""

    scores: np.ndarray  # (M,) of all that counts
    is_right: np.ndarray  # (M,) bool
    missed: int  # instances without a prediction


def _judge(pairs: ImagePairs, overlap: float) -> _Curve:
    matched = pairs.iou > overlap  # (P, G)
    to_find = matched[:, pairs.is_instance]
    scores, right = [], []
    for column in to_find.T:
        # Several predictions of one instance: the best is right, each other one is wrong.
        candidates = np.sort(pairs.scores[column])[::-1]
        scores.append(candidates)
        right.append(np.arange(len(candidates)) == 0)
    wrong = ~matched.any(axis=1) & (pairs.ignored <= overlap)
    scores.append(pairs.scores[wrong])
    right.append(np.zeros(int(wrong.sum()), dtype=bool))
    missed = int((~to_find.any(axis=0)).sum())
    return _Curve(np.concatenate(scores), np.concatenate(right), missed)


def _average_precision(images: Sequence[ImagePairs], overlap: float) -> float:
    """In [0, 1]; NaN where nothing is to be found, 0 where nothing is predicted."""
    if not any(pairs.is_instance.any() for pairs in images):
        return float("nan")
    curves = [_judge(pairs, overlap) for pairs in images]
    scores = np.concatenate([curve.scores for curve in curves])
    if not scores.size:
        return 0.0
    order = np.argsort(scores)
    right = np.concatenate([curve.is_right for curve in curves])[order]
    _, starts = np.unique(scores[order], return_index=True)
    # At each threshold: how many right ones lie below it, and are missed.
    below = np.concatenate([[0], np.cumsum(right)])[starts]
    hits = right.sum() - below
    missed = below + sum(curve.missed for curve in curves)
    precision = np.append(hits / (len(scores) - starts), 1.0)
    recall = np.append(hits / (hits + missed), 0.0)
    # Steps as wide as half the way to both neighbours.
    ends = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (0.5 * (ends[:-2] - ends[2:])))


def cityscapes_precision(images: Sequence[dict[int, ImagePairs]]) -> Scores:
    """AP over ten overlaps and AP50, in percent; NaN for labels that the truth does not hold."""
    table = np.array(
        [
            [_average_precision([image[label] for image in images], t) for t in OVERLAPS]
            for label in LABELS
        ]
    )
    table *= 100
    rows = {
        NAMES[label]: {"AP": float(values.mean()), "AP50": float(values[0])}
        for label, values in zip(LABELS, table, strict=True)
    }
    defined = table[~np.isnan(table[:, 0])]
    ap, ap50 = (float(x.mean()) if x.size else float("nan") for x in (defined, defined[:, 0]))
    return Scores(summary={"AP": ap, "AP50": ap50}, per_category=rows, notes=_notes(images, ap))


def _notes(images: Sequence[dict[int, ImagePairs]], ap: float) -> list[str]:
    """Why AP is undefined or 0."""
    predictions = sum(len(pairs.scores) for image in images for pairs in image.values())
    if not images:
        return ["No image was evaluated: AP is undefined (NaN)."]
    if np.isnan(ap):
        return [
            "The truth has no instance to find: AP is undefined (NaN); there are "
            f"{predictions} predictions."
        ]
    if not predictions:
        return ["AP is 0: nothing was predicted."]
    return []
