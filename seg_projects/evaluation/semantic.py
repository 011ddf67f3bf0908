"""Semantic segmentation of a model, judged by one confusion matrix."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from detectron2.evaluation import DatasetEvaluator
from seg_projects.evaluation.confusion import class_scores, confusion_matrix, mean_scores
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)


def semantic_scores(confusion: np.ndarray) -> dict[str, Any]:
    """Scores in percent of a (K, K) confusion matrix, as Detectron2's evaluator defines them.

    ``iou`` and ``accuracy`` (K,) are NaN for classes that the truth does not hold; the means
    ``mIoU``, ``fwIoU`` and ``mACC`` leave those out. All of :func:`mean_scores` is there, too.
    """
    per_class = class_scores(confusion)
    occurs = confusion.sum(axis=1) > 0
    return {
        **mean_scores(confusion),
        "iou": np.where(occurs, per_class["IoU"], np.nan),
        "accuracy": per_class["recall"],
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
        # Per image the cells of its confusion matrix that are not 0, some hundred bytes.
        self.cells: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (K, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            labels = self.truth.labels(input_["image_id"])
            # Only void is left out: with 255 classes and more the label 255 could be a class.
            predicted = torch.argmax(output["sem_seg"], dim=0).cpu().numpy()
            pixels = confusion_matrix(labels, predicted, len(self.names)).reshape(-1)
            cells = np.flatnonzero(pixels)
            self.cells[input_["image_id"]] = (cells, pixels[cells])

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., ..., "IoU-<name>": ..., "ACC-<name>": ...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.cells)
        if by_image is None:
            return None
        confusion = np.zeros(len(self.names) ** 2, dtype=np.int64)
        for cells, pixels in by_image.values():
            confusion[cells] += pixels
        scores = semantic_scores(confusion.reshape(len(self.names), len(self.names)))
        means = {key: value for key, value in scores.items() if isinstance(value, float)}
        log_table(logger, "Semantic segmentation", list(means), [list(means.values())])
        per_class = zip(self.names, scores["iou"], scores["accuracy"], strict=True)
        for name, iou, accuracy in per_class:
            means |= {f"IoU-{name}": float(iou), f"ACC-{name}": float(accuracy)}
        return {"sem_seg": means}
