"""Semantic segmentation whose pixels may have several classes: each class is scored by itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from seg_projects.data.class_masks import read_class_masks
from seg_projects.data.label_maps import IGNORED
from seg_projects.evaluation.confusion import class_scores, mean_scores
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.published_scores import publish_scores
from seg_projects.evaluation.scores import Scores
from seg_projects.evaluation.worst_images import WorstImages
from seg_projects.postprocessing.class_planes import class_planes

logger = logging.getLogger(__name__)

# Those of one class per pixel (accuracy of pixels, kappa, weighted IoU) have no meaning here.
MEANS = ("mIoU", "mIoU_union", "mIoU_all", "mDice", "mACC")
COLUMNS = {"IoU": "IoU", "ACC": "recall", "Dice": "Dice", "precision": "precision"}


class ClassMaskTruth:
    """The masks of a data set by image id."""

    def __init__(self, dataset_name: str) -> None:
        self.metadata = MetadataCatalog.get(dataset_name)
        records = DatasetCatalog.get(dataset_name)
        self._records = {record["image_id"]: record for record in records}

    def planes(self, image_id: int | str) -> np.ndarray:
        """(K, H, W) uint8: 1 where the class is, 0 where not, 255 where it does not count."""
        return read_class_masks(self._records[image_id], self.metadata.label_table)

    def file_name(self, image_id: int | str) -> str:
        """The image's file."""
        return str(self._records[image_id]["file_name"])


def plane_counts(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pixels (3, K) int64 of each class that count: right ones, those of the truth, predicted ones.

    Args:
        truth: (K, H, W) of 1, 0 and 255, which does not count.
        predicted: (K, H, W) bool.
    """
    wanted, found = truth == 1, predicted & (truth != IGNORED)
    return np.stack([plane.sum(axis=(1, 2)) for plane in (wanted & found, wanted, found)])


class ClassMaskEvaluator(DatasetEvaluator):
    """IoU, Dice, recall and precision of each class; a pixel is of it where its score is above 0.

    That is where the sigmoid is above one half.
    """

    def __init__(
        self, truth: ClassMaskTruth, output_dir: str | Path | None = None, *, num_worst: int = 20
    ) -> None:
        """Scores against ``truth``.

        Args:
            truth: the masks.
            output_dir: folder for ``semantic.json``: all numbers, notes and the worst images.
            num_worst: images that are named per metric.
        """
        self.truth, self.num_worst = truth, num_worst
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.names = list(truth.metadata.stuff_classes)
        self.reset()

    def reset(self) -> None:
        self.counts: dict[int, np.ndarray] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``sem_seg`` of each output is the (K, H, W) logits."""
        for input_, output in zip(inputs, outputs, strict=True):
            truth = self.truth.planes(input_["image_id"])
            predicted = class_planes(torch.as_tensor(output["sem_seg"])).cpu().numpy()
            self.counts[input_["image_id"]] = plane_counts(truth, predicted)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"sem_seg": {"mIoU": ..., "mDice": ..., "IoU-<name>": ..., "Dice-<name>": ...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        scores = self._scores(by_image)
        title, folder = "Segmentation of classes", self.output_dir
        results = publish_scores(
            logger, scores, title=title, folder=folder, file_name="semantic.json"
        )
        return {"sem_seg": results}

    def _scores(self, by_image: Mapping[Any, np.ndarray]) -> Scores:
        worst = WorstImages(self.num_worst)
        total = np.zeros((3, len(self.names)), dtype=np.int64)
        for image_id, counts in by_image.items():
            total += counts
            worst.add(image_id, self.truth.file_name(image_id), _means(counts))
        columns = class_scores(total)
        # As in Detectron2, there is no IoU of a class that the truth does not hold.
        columns["IoU"] = np.where(total[1] > 0, columns["IoU"], np.nan)
        return Scores(
            summary=_means(total),
            per_category={
                name: {key: float(columns[column][k]) for key, column in COLUMNS.items()}
                for k, name in enumerate(self.names)
            },
            notes=_notes(total, self.names),
            worst_images=worst.as_json(),
        )


def _means(counts: np.ndarray) -> dict[str, float]:
    means = mean_scores(counts)
    return {key: means[key] for key in MEANS}


def _notes(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    absent = [name for name, pixels in zip(names, counts[1], strict=True) if not pixels]
    if not absent:
        return []
    return [f"absent from the truth: {', '.join(absent)}. mIoU and mDice leave them out."]
