"""Scores of semantic segmentation that follow from one confusion matrix."""

from __future__ import annotations

import numpy as np


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels (K, K) int64 of truth class (rows) and predicted class (columns).

    Args:
        truth: integer labels of any shape; those outside [0, K) are ignored.
        predicted: labels in [0, K), of the same shape; elsewhere than on ignored pixels.
        num_classes: K.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"The prediction has the size {predicted.shape}, the truth {truth.shape}.")
    valid = (truth >= 0) & (truth < num_classes)
    pairs = truth[valid].astype(np.int64) * num_classes + predicted[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_counts(confusion: np.ndarray) -> np.ndarray:
    """Pixels (3, K) of each class: right ones, those of the truth, those predicted.

    All scores below follow from these, so they are all that has to be kept of an image.
    """
    return np.stack((confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)))


def class_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (K,) in percent of every class.

    ``IoU`` and ``Dice`` (the F1 of pixels) are NaN where truth and prediction are both without the
    class, ``recall`` where the truth is, ``precision`` where the prediction is.

    Args:
        counts: (3, K) as of :func:`class_counts`.
    """
    hits, truth, predicted = counts
    return {
        "IoU": 100 * ratio(hits, truth + predicted - hits),
        "Dice": 100 * ratio(2 * hits, truth + predicted),
        "precision": 100 * ratio(hits, predicted),
        "recall": 100 * ratio(hits, truth),
    }


def mean_scores(counts: np.ndarray) -> dict[str, float]:
    """Scores in percent over all classes.

    * ``mIoU``, ``mDice``, ``mACC`` (mean recall): over the classes that the truth holds, as
      Detectron2 does: predicting a class that is absent costs only the pixels it takes away.
    * ``mIoU_union``: over the classes that truth or prediction hold, so that a class that is only
      predicted counts as 0.
    * ``fwIoU``: IoU weighted by the truth's pixels. ``pACC``: share of correct pixels.
    * ``kappa``: Cohen's, agreement beyond chance, 100 is perfect and 0 is chance.

    Args:
        counts: (3, K) as of :func:`class_counts`.
    """
    hits, truth, predicted = counts
    occurs, total = truth > 0, int(truth.sum())
    iou, dice = ratio(hits, truth + predicted - hits), ratio(2 * hits, truth + predicted)
    weighted = float((iou[occurs] * (truth[occurs] / total)).sum()) if total else np.nan
    return {
        "mIoU": 100 * mean(iou[occurs]),
        "mIoU_union": 100 * mean(iou[~np.isnan(iou)]),
        "fwIoU": 100 * weighted,
        "mDice": 100 * mean(dice[occurs]),
        "mACC": 100 * mean(ratio(hits, truth)[occurs]),
        "pACC": 100 * float(hits.sum() / total) if total else np.nan,
        "kappa": 100 * _kappa(counts),
    }


def _kappa(counts: np.ndarray) -> float:
    """NaN where nothing is labelled or where chance alone agrees everywhere."""
    hits, truth, predicted = counts
    total = float(truth.sum())
    if not total:
        return float("nan")
    observed, expected = hits.sum() / total, float((truth / total) @ (predicted / total))
    return float("nan") if expected == 1 else float((observed - expected) / (1 - expected))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole`` (K,) float64; NaN where the whole is nothing."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def mean(values: np.ndarray) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if values.size else float("nan")
