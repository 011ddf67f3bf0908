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


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (K,) in percent of every class of a (K, K) confusion matrix.

    ``IoU`` and ``Dice`` (the F1 of pixels) are NaN where truth and prediction are both without the
    class, ``recall`` where the truth is, ``precision`` where the prediction is.
    """
    hits = np.diag(confusion).astype(np.float64)
    in_truth, in_prediction = confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "IoU": _percent(hits, in_truth + in_prediction - hits),
        "Dice": _percent(2 * hits, in_truth + in_prediction),
        "precision": _percent(hits, in_prediction),
        "recall": _percent(hits, in_truth),
    }


def mean_scores(confusion: np.ndarray) -> dict[str, float]:
    """Scores in percent over all classes of a (K, K) confusion matrix.

    * ``mIoU``, ``mDice``, ``mACC`` (mean recall): over the classes that the truth holds, as
      Detectron2 does: predicting a class that is absent costs only the pixels it takes away.
    * ``mIoU_union``: over the classes that truth or prediction hold, so that a class that is only
      predicted counts as 0.
    * ``fwIoU``: IoU weighted by the truth's pixels. ``pACC``: share of correct pixels.
    * ``kappa``: Cohen's, agreement beyond chance, 100 is perfect and 0 is chance.
    """
    per_class = class_scores(confusion)
    in_truth = confusion.sum(axis=1)
    occurs, total = in_truth > 0, float(in_truth.sum())
    iou = per_class["IoU"]
    hits = float(np.trace(confusion))
    return {
        "mIoU": _mean(iou[occurs]),
        "mIoU_union": _mean(iou[~np.isnan(iou)]),
        "fwIoU": float(np.average(iou[occurs], weights=in_truth[occurs])) if total else np.nan,
        "mDice": _mean(per_class["Dice"][occurs]),
        "mACC": _mean(per_class["recall"][occurs]),
        "pACC": 100 * hits / total if total else np.nan,
        "kappa": _kappa(confusion),
    }


def _kappa(confusion: np.ndarray) -> float:
    """NaN where nothing is labelled or where chance alone agrees everywhere."""
    total = float(confusion.sum())
    if not total:
        return float("nan")
    observed = np.trace(confusion) / total
    expected = float((confusion.sum(axis=1) / total) @ (confusion.sum(axis=0) / total))
    return float("nan") if expected == 1 else float(100 * (observed - expected) / (1 - expected))


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result = np.full(len(part), np.nan)
    np.divide(100 * part, whole, out=result, where=whole > 0)
    return result


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
