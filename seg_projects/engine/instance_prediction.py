"""A trained detector on images of one's own, and what of it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detectron2.config import CfgNode
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from seg_projects.data.categories import OutputCategories
from seg_projects.engine.image_model import ImageModel
from seg_projects.engine.input_images import InputImage
from seg_projects.engine.model_categories import check_num_classes, model_categories
from seg_projects.engine.prediction_files import write_png
from seg_projects.files import write_json
from seg_projects.visualization.overlay import (
    categories_from_coco,
    flatten_masks,
    instance_overlay,
)
from seg_projects.visualization.samples import Panoptic

# Of the detections that are painted; a file holds all that the model gives.
PAINTED_SCORE = 0.5


class InstancePredictor:
    """Loads what a config and its weights say, once; then called with images."""

    def __init__(self, cfg: CfgNode) -> None:
        """Takes a config whose weights exist; see :func:`find_weights`.

        Raises:
            UserError: the classes are unknown, or not as many as the model has.
        """
        self.categories = model_categories(cfg)
        check_num_classes(cfg, {"ROI_HEADS": len(self.categories.records)})
        self._model = ImageModel(cfg)

    def __call__(self, image_rgb: np.ndarray) -> Instances:
        """The detections, on the CPU, in an (H, W, 3) RGB image, uint8 or float32 in [0, 255]."""
        return self._model(image_rgb)["instances"].to("cpu")


def painted_instances(instances: Instances, categories: OutputCategories) -> Panoptic:
    """The detections from ``PAINTED_SCORE`` on in one map of ids, the best ones on top."""
    chosen = instances[instances.scores >= PAINTED_SCORE]
    chosen = chosen[chosen.scores.argsort()]
    ids = {label: category for category, label in categories.thing_ids.items()}
    category_ids = [ids[label] for label in chosen.pred_classes.tolist()]
    return Panoptic(*flatten_masks(_masks(chosen), category_ids))


def _masks(instances: Instances) -> np.ndarray:
    """(R, H, W) bool; boxes stand for masks where the model has none."""
    if instances.has("pred_masks"):
        return instances.pred_masks.numpy()
    masks = np.zeros((len(instances), *instances.image_size), dtype=bool)
    corners = instances.pred_boxes.tensor.round().int().tolist()
    for mask, (left, top, right, bottom) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    return masks


class InstanceFiles:
    """``overlays/NAME.png`` to look at; ``instances.json``, COCO instances with a ``score`` each.

    Detections below a score of 0.5 are in the JSON alone.
    """

    def __init__(self, output_dir: Path, categories: OutputCategories) -> None:
        self.output_dir = output_dir
        self.categories = categories
        self._colours = categories_from_coco(categories.records)
        self._ids = {label: category for category, label in categories.thing_ids.items()}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, source: InputImage, image: np.ndarray, prediction: Instances) -> str:
        """Writes the files of one image; returns what was found, in words."""
        overlay = instance_overlay(
            image, *painted_instances(prediction, self.categories), self._colours
        )
        write_png(self.output_dir / "overlays" / f"{source.name}.png", overlay)
        number = len(self._images) + 1
        height, width = prediction.image_size
        self._images.append(
            {"id": number, "file_name": source.file_name, "height": height, "width": width}
        )
        for row in instances_to_coco_json(prediction, number):
            annotation = {
                "id": len(self._annotations) + 1,
                **row,
                "category_id": self._ids[row["category_id"]],
                "area": _area(row),
                "iscrowd": 0,
            }
            self._annotations.append(annotation)
        above = int((prediction.scores >= PAINTED_SCORE).sum())
        return (
            f"{len(prediction)} instances, {above} of them with a score of {PAINTED_SCORE} or more"
        )

    def finish(self) -> str:
        """Writes what concerns all images; returns the names of files and folders."""
        records = [{"id": r["id"], "name": r["name"]} for r in self.categories.records]
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": records,
        }
        write_json(self.output_dir / "instances.json", content)
        return "overlays, instances.json"


def _area(row: dict[str, Any]) -> float:
    """Pixels of the mask, or of the box where there is none."""
    if "segmentation" not in row:
        return row["bbox"][2] * row["bbox"][3]
    from pycocotools import mask as coco_mask

    return float(coco_mask.area(row["segmentation"]))
