"""Semantic segmentation of a model, judged by one confusion matrix."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels (K, K) int64 of truth class (rows) and predicted class (columns).

    Args:
        truth: integer labels of any shape; those outside [0, K) are ignored.
        predicted: labels in [0, K), of the same shape.
        num_classes: K.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"The prediction has the size {predicted.shape}, the truth {truth.shape}.")
    valid = (truth >= 0) & (truth < num_classes)
    pairs = truth[valid].astype(np.int64) * num_classes + predicted[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def semantic_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Scores in percent of a (K, K) confusion matrix, as Detectron2's evaluator defines them.

    ``iou`` and ``accuracy`` (K,) are NaN for classes that the truth does not hold; the means
    ``mIoU``, ``fwIoU`` and ``mACC`` leave those out. ``pACC`` is the share of correct pixels.
    """
    hits = np.diag(confusion).astype(np.float64)
    in_truth, in_prediction = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = in_truth > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = np.where(occurs, 100 * hits / in_truth, np.nan)
        iou = np.where(occurs, 100 * hits / (in_truth + in_prediction - hits), np.nan)
    if not occurs.any():
        nothing = dict.fromkeys(("mIoU", "fwIoU", "mACC", "pACC"), float("nan"))
        return {**nothing, "iou": iou, "accuracy": accuracy}
    return {
        "mIoU": float(iou[occurs].mean()),
        "fwIoU": float(np.average(iou[occurs], weights=in_truth[occurs])),
        "mACC": float(accuracy[occurs].mean()),
        "pACC": float(100 * hits.sum() / in_truth.sum()),
        "iou": iou,
        "accuracy": accuracy,
    }


class SemanticEvaluator(DatasetEvaluator):
    """IoU and accuracy of ``sem_seg`` over the ``stuff_classes``.

    Those of a panoptic data set begin with one class of all things.
    """

    def __init__(self, truth: PanopticGroundTruth | LabelMapGroundTruth) -> None:
        self.truth = truth
        self.names = truth.metadata.stuff_classes
        self.reset()

    def reset(self) -> None:
        self.confusion = np.zeros((len(self.names), len(self.names)), dtype=np.int64)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (K, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            labels = self.truth.labels(input_["image_id"])
            # Only void is left out: with 255 classes and more the label 255 could be a class.
            predicted = torch.argmax(output["sem_seg"], dim=0).cpu().numpy()
            self.confusion += confusion_matrix(labels, predicted, len(self.names))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., "fwIoU": ..., "mACC": ..., "pACC": ..., ...}}``.

        None on all processes but the first.
        """
        gathered = comm.gather(self.confusion)
        if not comm.is_main_process():
            return None
        scores = semantic_scores(sum(gathered[1:], start=gathered[0]))
        means = {key: scores[key] for key in ("mIoU", "fwIoU", "mACC", "pACC")}
        log_table(logger, "Semantic segmentation", list(means), [list(means.values())])
        per_class = zip(self.names, scores["iou"], scores["accuracy"], strict=True)
        for name, iou, accuracy in per_class:
            means |= {f"IoU-{name}": float(iou), f"ACC-{name}": float(accuracy)}
        return {"sem_seg": means}
