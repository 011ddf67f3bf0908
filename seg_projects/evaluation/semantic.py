"""Semantic segmentation of a model: scores of pixels, and of boundaries where asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.evaluation import DatasetEvaluator
from seg_projects.evaluation.confusion import absence_notes, class_counts_on_device
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.scores import Scores, write_scores_json
from seg_projects.evaluation.semantic_metrics import (
    LOWER_IS_BETTER,
    LabelPair,
    PixelMetric,
    SemanticMetric,
)
from seg_projects.evaluation.tables import log_table
from seg_projects.evaluation.worst_images import WorstImages
from seg_projects.postprocessing.label_argmax import argmax_labels

logger = logging.getLogger(__name__)

FETCHED_AT_ONCE = 64
"""Images whose counts wait on the device."""


class SemanticEvaluator(DatasetEvaluator):
    """Scores of ``sem_seg`` over the ``stuff_classes``.

    Those of a panoptic data set begin with one class of all things.
    """

    def __init__(
        self,
        truth: PanopticGroundTruth | LabelMapGroundTruth,
        metrics: Sequence[SemanticMetric] = (PixelMetric(),),
        output_dir: str | Path | None = None,
        *,
        num_worst: int = 20,
    ) -> None:
        """Scores against ``truth``.

        Args:
            truth: the label maps.
            metrics: what is measured.
            output_dir: folder for ``semantic.json``: all numbers, notes and the worst images.
            num_worst: images that are named per metric.
        """
        self.truth, self.metrics, self.num_worst = truth, tuple(metrics), num_worst
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.names = list(truth.metadata.stuff_classes)
        self.reset()

    def reset(self) -> None:
        # Per image a few numbers per class: an image that two processes see counts once, the worst
        # images are found and intervals drawn. With 19 classes and pixels alone, 228 bytes.
        self.counts: dict[int, list[np.ndarray]] = {}
        self.on_device: dict[int, Tensor] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (K, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            image_id, size = input_["image_id"], len(self.names)
            # Only void is left out: with 255 classes and more the label 255 could be a class.
            labels = self.truth.labels(image_id)
            predicted = argmax_labels(output["sem_seg"])
            if predicted.is_cuda and self.metrics == (PixelMetric(),):
                self.on_device[image_id] = class_counts_on_device(labels, predicted, size)
                if len(self.on_device) >= FETCHED_AT_ONCE:
                    self._fetch()
                continue
            pair = LabelPair(labels, predicted.cpu().numpy(), size, input_.get("spacing"))
            self.counts[image_id] = [_compact(metric.count(pair)) for metric in self.metrics]

    def _fetch(self) -> None:
        """Takes the counts from the device: the one time that it is waited for."""
        if self.on_device:
            tables = torch.stack(list(self.on_device.values())).cpu().numpy()
            for image_id, table in zip(self.on_device, tables, strict=True):
                self.counts[image_id] = [_compact(table)]
        self.on_device = {}

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., ..., "IoU-<name>": ..., "ACC-<name>": ...}}``.

        None on all processes but the first.
        """
        self._fetch()
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        scores = self._scores(by_image)
        for note in scores.notes:
            logger.warning("%s", note)
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_scores_json(self.output_dir / "semantic.json", scores)
        means = scores.summary
        log_table(logger, "Semantic segmentation", list(means), [list(means.values())])
        per_class = {
            f"{key}-{name}": value
            for name, values in scores.per_category.items()
            for key, value in values.items()
        }
        return {"sem_seg": means | per_class}

    def _scores(self, by_image: dict[int, list[np.ndarray]]) -> Scores:
        scores = Scores(summary={}, per_category={name: {} for name in self.names})
        worst = WorstImages(self.num_worst, lower_is_better=LOWER_IS_BETTER)
        no_pixel = np.zeros((0, 1), dtype=np.uint8)
        for index, metric in enumerate(self.metrics):
            total = metric.count(LabelPair(no_pixel, no_pixel, len(self.names)))
            for image_id, tables in by_image.items():
                total = total + tables[index]
                means = metric.scores(tables[index].astype(total.dtype)).means
                worst.add(image_id, self.truth.file_name(image_id), means)
            of_all = metric.scores(total)
            scores.summary.update(of_all.means)
            for key, values in of_all.per_class.items():
                for name, value in zip(self.names, values, strict=True):
                    scores.per_category[name][key] = float(value)
            if isinstance(metric, PixelMetric):
                scores.notes.extend(absence_notes(total, self.names))
        scores.worst_images.update(worst.as_json())
        return scores


def _compact(counts: np.ndarray) -> np.ndarray:
    """Whole numbers in 4 bytes: an image has fewer pixels than that holds."""
    return counts.astype(np.int32) if counts.dtype.kind in "iu" else counts
