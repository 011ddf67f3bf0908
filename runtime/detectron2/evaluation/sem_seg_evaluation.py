"""Semantic segmentation: IoU, boundary IoU and pixel accuracy."""

from __future__ import annotations

import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.annotation_files import write_json
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.evaluation.mask_runs import encode_label_map
from detectron2.evaluation.sem_seg_metrics import (
    boundary_map,
    confusion,
    intersection_over_union,
    scores,
)
from detectron2.layers.label_map import label_map
from detectron2.utils import comm
from detectron2.utils.atomic import atomic_write
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)


def load_image_into_numpy_array(filename: str, dtype: np.dtype | str | None = None) -> np.ndarray:
    """Reads an image file as an array of ``dtype``, by default that of the file."""
    from PIL import Image

    with PathManager.open(filename, "rb") as file, Image.open(file) as image:
        return np.array(image, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """IoU, boundary IoU and accuracy in percent, over all pixels of the data set.

    Results are ``{"sem_seg": {"mIoU", "fwIoU" (weighted by frequency), "IoU-<class>",
    "BoundaryIoU-<class>", "min(IoU, B-Iou)-<class>", ..., "mACC", "pACC", "ACC-<class>"}}``. A
    class without a true pixel has NaN and does not count in the means.

    Boundary IoU equals Detectron2's for fewer than 16 classes. From 16 on Detectron2 computes it in
    8-bit integers that overflow; here they do not.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        """Looks up the ground truth of every image.

        Args:
            dataset_name: a registered data set whose metadata have ``stuff_classes``.
            distributed: merge the results of all ranks, else report this process alone.
            output_dir: where to write ``sem_seg_predictions.json`` (the predictions as RLE) and
                ``sem_seg_evaluation.pth`` (the results).
            sem_seg_loading_fn: called with a file name and ``dtype=int``; reads a label map.
            num_classes: must agree with the metadata, which know it.
            ignore_label: label of pixels that do not count; by default the metadata's.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._distributed = distributed
        self._output_dir = output_dir
        self._load = sem_seg_loading_fn
        self._class_names = metadata.stuff_classes
        self._num_classes = len(self._class_names)
        if num_classes not in (None, self._num_classes):
            raise AssertionError(
                f"num_classes={num_classes}, but {dataset_name} has {self._num_classes}"
                " stuff_classes. Leave num_classes out."
            )
        self._ignore_label = metadata.ignore_label if ignore_label is None else ignore_label
        id_map = metadata.get("stuff_dataset_id_to_contiguous_id")
        self._dataset_ids = None if id_map is None else {i: number for number, i in id_map.items()}
        self._gt_files = {
            record["file_name"]: record["sem_seg_file_name"]
            for record in DatasetCatalog.get(dataset_name)
        }
        self.reset()

    def reset(self) -> None:
        # The last row and column are ignored pixels.
        size = self._num_classes + 1
        self._confusion = np.zeros((size, size), dtype=np.int64)
        self._boundary_confusion = np.zeros((size, size), dtype=np.int64)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Any, outputs: Any) -> None:
        """Takes in one batch.

        Args:
            inputs: dicts with "file_name", which identifies the image.
            outputs: dicts with "sem_seg": (K, H, W) scores at the size of the original image.
        """
        size = self._num_classes + 1
        for item, output in zip(inputs, outputs, strict=False):
            pred = label_map(output["sem_seg"]).cpu().numpy()
            gt = self._ground_truth(item["file_name"])
            if pred.max(initial=0) >= self._num_classes:
                raise ValueError(
                    f"The model predicts {len(output['sem_seg'])} classes, the metadata have"
                    f" {self._num_classes} stuff_classes."
                )
            self._confusion += confusion(pred, gt, size)
            boundaries = boundary_map(pred.astype(gt.dtype)), boundary_map(gt)
            self._boundary_confusion += confusion(*boundaries, size)
            if self._output_dir:
                self._predictions += self.encode_json_sem_seg(pred, item["file_name"])

    def _ground_truth(self, file_name: str) -> np.ndarray:
        """The label map of an image, where ignored pixels are one more than the last class."""
        gt = self._load(self._gt_files[file_name], dtype=int)
        ignored = gt == self._ignore_label
        gt[ignored] = self._num_classes
        wrong = (gt < 0) | (gt > self._num_classes) | ((gt == self._num_classes) & ~ignored)
        if wrong.any():
            raise ValueError(
                f"{self._gt_files[file_name]} has the label {gt[wrong][0]}; labels are below"
                f" {self._num_classes}, or {self._ignore_label} for ignored pixels."
            )
        return gt.astype(np.uint8 if self._num_classes <= 255 else np.uint16)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Merges the ranks; None on ranks other than the main one."""
        matrix, boundaries = self._confusion, self._boundary_confusion
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather((matrix, boundaries, predictions), dst=0)
            if not comm.is_main_process():
                return None
            matrix = sum(part[0] for part in gathered)
            boundaries = sum(part[1] for part in gathered)
            predictions = list(itertools.chain(*[part[2] for part in gathered]))
        results = OrderedDict({"sem_seg": self._results(matrix, boundaries)})
        if self._output_dir:
            write_json(os.path.join(self._output_dir, "sem_seg_predictions.json"), predictions)
            path = os.path.join(self._output_dir, "sem_seg_evaluation.pth")
            with atomic_write(path) as file:
                torch.save(dict(results["sem_seg"]), file)
        logger.info("Semantic segmentation: %s", results)
        return results

    def _results(self, matrix: np.ndarray, boundaries: np.ndarray) -> dict[str, float]:
        total = scores(matrix[:-1, :-1])
        boundary_iou = intersection_over_union(boundaries[:-1, :-1])
        results = {"mIoU": 100 * total.miou, "fwIoU": 100 * total.fwiou}
        for name, iou, boundary in zip(self._class_names, total.iou, boundary_iou, strict=True):
            results[f"IoU-{name}"] = 100 * float(iou)
            results[f"BoundaryIoU-{name}"] = 100 * float(boundary)
            least = np.nan if np.isnan(iou) else np.fmin(iou, boundary)
            results[f"min(IoU, B-Iou)-{name}"] = 100 * float(least)
        results |= {"mACC": 100 * total.macc, "pACC": 100 * total.pacc}
        for name, acc in zip(self._class_names, total.acc, strict=True):
            results[f"ACC-{name}"] = 100 * float(acc)
        return results

    def encode_json_sem_seg(
        self, sem_seg: np.ndarray, input_file_name: str
    ) -> list[dict[str, Any]]:
        """Turns a label map into records of COCO's stuff format.

        Args:
            sem_seg: (H, W) class ids.
            input_file_name: what the records name as ``file_name``.

        Returns:
            For each class that occurs ``file_name``, ``category_id`` (the data set's own) and
            ``segmentation`` (RLE).
        """
        records = []
        for label, rle in encode_label_map(np.asarray(sem_seg)).items():
            category_id = label
            if self._dataset_ids is not None:
                if label not in self._dataset_ids:
                    raise AssertionError(
                        f"Class {label} is not in the metadata's stuff_dataset_id_to_contiguous_id."
                    )
                category_id = self._dataset_ids[label]
            records.append(
                {"file_name": input_file_name, "category_id": category_id, "segmentation": rle}
            )
        return records
