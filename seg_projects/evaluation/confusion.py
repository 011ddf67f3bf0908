"""Scores of semantic segmentation that follow from one confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from seg_projects.errors import UserError

CountPairs = Callable[[np.ndarray, np.ndarray, np.ndarray], int]
REPLICAS = 64
"""Histograms that the pixels take turns in on a device, so that they seldom meet in one bin."""


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels (K, K) int64 of truth class (rows) and predicted class (columns).

    Args:
        truth: integer labels of any shape; those outside [0, K) are ignored.
        predicted: labels in [0, K), of the same shape; elsewhere than on ignored pixels.
        num_classes: K.

    Raises:
        UserError: the sizes differ, or a prediction that counts is outside [0, K).
    """
    _check_sizes(truth.shape, predicted.shape)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    outside = _count_pairs()(truth.reshape(-1), predicted.reshape(-1), confusion)
    if outside:
        raise UserError(f"{outside} pixels are predicted to be no class of 0 to {num_classes - 1}.")
    return confusion


def _check_sizes(truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    if tuple(truth) != tuple(predicted):
        raise UserError(f"The prediction has the size {tuple(predicted)}, the truth {truth}.")


def _count_pairs() -> CountPairs:
    try:
        from seg_projects.postprocessing.label_kernels import count_pairs
    except ImportError:
        return numpy_count_pairs
    return count_pairs


def numpy_count_pairs(truth: np.ndarray, predicted: np.ndarray, confusion: np.ndarray) -> int:
    """Adds pixels (P,) to ``confusion`` (K, K); returns how many were predicted outside [0, K).

    Pixels whose truth is outside [0, K) are left out.
    """
    classes = confusion.shape[0]
    judged = (truth >= 0) & (truth < classes)
    wrong = judged & ((predicted < 0) | (predicted >= classes))
    # Ignored pixels go into one bin more.
    pairs = truth.astype(np.int64)
    pairs *= classes
    pairs += predicted
    pairs[~judged | wrong] = classes**2
    confusion += np.bincount(pairs, minlength=classes**2 + 1)[:-1].reshape(confusion.shape)
    return int(np.count_nonzero(wrong))


def class_counts_on_device(truth: np.ndarray, predicted: Tensor, num_classes: int) -> Tensor:
    """As :func:`class_counts`, (3, K) int64 where the prediction is, without waiting for it.

    Args:
        truth: (H, W) labels; those outside [0, K) are ignored.
        predicted: (H, W) labels in [0, K).
        num_classes: K.

    Raises:
        UserError: the sizes differ.
    """
    _check_sizes(truth.shape, tuple(predicted.shape))
    labels = torch.from_numpy(np.ascontiguousarray(truth)).reshape(-1)
    if predicted.is_cuda:
        labels = labels.pin_memory()  # else the copy waits for all that the device has to do
    labels = labels.to(predicted.device, non_blocking=True).int()
    found = predicted.reshape(-1).int()
    ignored = (labels < 0) | (labels >= num_classes)
    bins = torch.stack((torch.where(labels == found, labels, num_classes), labels, found))
    bins.masked_fill_(ignored, num_classes)
    size = num_classes + 1
    row = torch.arange(3, device=bins.device)[:, None] * size
    turn = torch.arange(labels.numel(), device=bins.device) % REPLICAS * (3 * size)
    histograms = torch.zeros(REPLICAS * 3 * size, dtype=torch.int32, device=bins.device)
    places = (bins + row + turn).reshape(-1)
    histograms.scatter_add_(0, places, torch.ones_like(places, dtype=torch.int32))
    return histograms.view(REPLICAS, 3, size).sum(dim=0)[:, :num_classes]


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
    * ``mIoU_all``: over all K classes, as PASCAL VOC's devkit: one class on neither side makes it
      undefined (NaN).
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
        "mIoU_all": 100 * mean(iou),
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


def absence_notes(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    """What a reader has to know of classes that the truth does not hold, in sentences."""
    absent = counts[1] == 0
    notes = []
    invented = [name for name, a, p in zip(names, absent, counts[2], strict=True) if a and p]
    if invented:
        notes.append(
            f"predicted, though absent from the truth: {', '.join(invented)}. mIoU leaves them "
            "out; mIoU_union counts them as 0."
        )
    if absent.all():
        return [*notes, "The truth labels no pixel: every score is undefined (NaN)."]
    if nowhere := [
        name for name, a, p in zip(names, absent, counts[2], strict=True) if a and not p
    ]:
        shown = ", ".join(nowhere[:10]) + (", ..." if len(nowhere) > 10 else "")
        notes.append(
            f"mIoU_all is undefined (NaN): {len(nowhere)} classes occur on neither side: {shown}."
        )
    if math.isnan(_kappa(counts)):
        notes.append("kappa is undefined (NaN): one class is everywhere, so chance agrees too.")
    return notes
