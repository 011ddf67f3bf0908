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
from seg_projects.evaluation.confusion import class_counts_on_device
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.image_states import SemanticStates, write_states
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.published_scores import publish_scores
from seg_projects.evaluation.semantic_metrics import LabelPair, PixelMetric, SemanticMetric
from seg_projects.evaluation.semantic_scores import compact, semantic_scores
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
            self.counts[image_id] = [compact(metric.count(pair)) for metric in self.metrics]

    def _fetch(self) -> None:
        """Takes the counts from the device: the one time that it is waited for."""
        if self.on_device:
            tables = torch.stack(list(self.on_device.values())).cpu().numpy()
            for image_id, table in zip(self.on_device, tables, strict=True):
                self.counts[image_id] = [compact(table)]
        self.on_device = {}

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., ..., "IoU-<name>": ..., "ACC-<name>": ...}}``.

        None on all processes but the first.
        """
        self._fetch()
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        scores = semantic_scores(
            by_image, self.metrics, self.names, self.truth.file_name, num_worst=self.num_worst
        )
        title, folder = "Semantic segmentation", self.output_dir
        results = publish_scores(
            logger, scores, title=title, folder=folder, file_name="semantic.json"
        )
        if folder is not None:
            self._write_states(folder / "semantic_images.npz", by_image)
        return {"sem_seg": results}

    def _write_states(self, path: Path, by_image: dict[int, list[np.ndarray]]) -> None:
        """Keeps the pixels of each image, from which runs are compared."""
        if by_image and PixelMetric() in self.metrics:
            place = list(self.metrics).index(PixelMetric())
            pixels = np.stack([tables[place] for tables in by_image.values()])
            write_states(path, SemanticStates(np.array(list(by_image)), pixels))
