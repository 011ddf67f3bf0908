"""Semantic segmentation of a model: scores of pixels, and of boundaries where asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.evaluation import DatasetEvaluator
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.semantic_metrics import LabelPair, PixelMetric, SemanticMetric
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)


class SemanticEvaluator(DatasetEvaluator):
    """Scores of ``sem_seg`` over the ``stuff_classes``.

    Those of a panoptic data set begin with one class of all things.
    """

    def __init__(
        self,
        truth: PanopticGroundTruth | LabelMapGroundTruth,
        metrics: Sequence[SemanticMetric] = (PixelMetric(),),
    ) -> None:
        self.truth = truth
        self.metrics = metrics
        self.names = truth.metadata.stuff_classes
        self.reset()

    def reset(self) -> None:
        # Per image a few numbers per class: an image that two processes see counts once, and
        # intervals are drawn from images. With 19 classes and pixels alone that is 228 bytes.
        self.counts: dict[int, list[np.ndarray]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (K, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            labels = self.truth.labels(input_["image_id"])
            # Only void is left out: with 255 classes and more the label 255 could be a class.
            predicted = torch.argmax(output["sem_seg"], dim=0).cpu().numpy()
            pair = LabelPair(labels, predicted, len(self.names), input_.get("spacing"))
            self.counts[input_["image_id"]] = [_compact(m.count(pair)) for m in self.metrics]

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., ..., "IoU-<name>": ..., "ACC-<name>": ...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        means: dict[str, float] = {}
        per_class: dict[str, float] = {}
        no_pixel = np.zeros((0, 1), dtype=np.uint8)
        nothing = LabelPair(no_pixel, no_pixel, len(self.names))
        for index, metric in enumerate(self.metrics):
            counts = metric.count(nothing)
            for tables in by_image.values():
                counts = counts + tables[index]
            scores = metric.scores(counts)
            means |= scores.means
            for key, values in scores.per_class.items():
                named = zip(self.names, values, strict=True)
                per_class |= {f"{key}-{name}": float(value) for name, value in named}
        log_table(logger, "Semantic segmentation", list(means), [list(means.values())])
        return {"sem_seg": means | per_class}


def _compact(counts: np.ndarray) -> np.ndarray:
    """Whole numbers in 4 bytes: an image has fewer pixels than that holds."""
    return counts.astype(np.int32) if counts.dtype.kind in "iu" else counts
