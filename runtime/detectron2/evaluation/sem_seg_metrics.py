"""Kernels of the semantic metrics: confusion matrices, boundaries, IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Scores", "boundary_map", "confusion", "scores"]

BOUNDARY_WIDTH = 0.02
"""Width of the boundary of Boundary IoU, as a part of the image's diagonal."""


def confusion(pred: np.ndarray, gt: np.ndarray, num_labels: int) -> np.ndarray:
    """Joint histogram of two label maps: (num_labels, num_labels) int64, [predicted, true].

    Args:
        pred, gt: integers in [0, num_labels), of the same shape.
    """
    if pred.shape != gt.shape:
        raise ValueError(
            f"The prediction is {pred.shape}, the ground truth {gt.shape}: predictions must be of"
            " the size of the original image."
        )
    cells = pred.astype(np.int64).ravel() * num_labels + gt.ravel()
    return np.bincount(cells, minlength=num_labels**2).reshape(num_labels, num_labels)


def boundary_map(labels: np.ndarray) -> np.ndarray:
    """What remains of a label map when its erosion is taken from it.

    This is Boundary IoU's (arXiv:2103.16562) boundary of a mask, which Detectron2 applies to the
    whole label map: the erosion is the least label within the boundary's width, the image's border
    counting as label 0, so that a pixel holds the difference of two labels; inner pixels hold 0.

    Args:
        labels: (H, W), uint8 or uint16.
    """
    import cv2

    width = max(1, round(BOUNDARY_WIDTH * float(np.hypot(*labels.shape))))
    padded = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), dtype=np.uint8), iterations=width)
    return labels - eroded[1:-1, 1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Semantic metrics in [0, 1]; those of a class are NaN where it has no pixel."""

    miou: float
    fwiou: float
    macc: float
    pacc: float
    iou: np.ndarray
    acc: np.ndarray


def scores(matrix: np.ndarray) -> Scores:
    """Metrics of a confusion matrix without ignored pixels.

    Args:
        matrix: (K, K), [predicted, true]. A class without a true pixel has no IoU and no accuracy.
    """
    tp = matrix.diagonal().astype(np.float64)
    true, predicted = matrix.sum(axis=0).astype(np.float64), matrix.sum(axis=1).astype(np.float64)
    present = true > 0
    acc, iou = np.full(len(tp), np.nan), np.full(len(tp), np.nan)
    acc[present] = tp[present] / true[present]
    iou[present] = tp[present] / (true + predicted - tp)[present]
    if not present.any():
        return Scores(
            miou=float("nan"),
            fwiou=float("nan"),
            macc=float("nan"),
            pacc=float("nan"),
            iou=iou,
            acc=acc,
        )
    return Scores(
        miou=float(iou[present].mean()),
        fwiou=float((iou[present] * true[present]).sum() / true.sum()),
        macc=float(acc[present].mean()),
        pacc=float(tp.sum() / true.sum()),
        iou=iou,
        acc=acc,
    )


def intersection_over_union(matrix: np.ndarray) -> np.ndarray:
    """(K,) IoU of a (K, K) confusion matrix; NaN where neither map has the class."""
    tp = matrix.diagonal().astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - tp
    iou = np.full(len(tp), np.nan)
    np.divide(tp, union, out=iou, where=union > 0)
    return iou
