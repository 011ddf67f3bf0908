"""Average precision of a model's instances against the thing segments of a panoptic data set."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import numpy as np

from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm
from seg_projects.evaluation.ground_truth import Annotation, PanopticGroundTruth
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def thing_annotations(
    annotation: Annotation, image_id: int, thing_ids: dict[int, int]
) -> list[dict[str, Any]]:
    """COCO annotations (RLE, box XYWH, pixel area, crowd flag) of the things of one image.

    Their ``id`` is left to the caller.
    """
    from pycocotools import mask as coco_mask

    rows = []
    for segment in annotation.segments:
        if segment["category_id"] not in thing_ids:
            continue
        mask = np.asfortranarray(annotation.ids == segment["id"], dtype=np.uint8)
        rle = coco_mask.encode(mask)
        rows.append(
            {
                "image_id": image_id,
                "category_id": segment["category_id"],
                "iscrowd": int(segment.get("iscrowd", 0)),
                "segmentation": rle,
                "area": float(coco_mask.area(rle)),
                "bbox": coco_mask.toBbox(rle).tolist(),
            }
        )
    return rows


def average_precision(
    truth: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    images: list[dict[str, int]],
    categories: list[dict[str, Any]],
    task: str,
) -> tuple[dict[str, float], np.ndarray]:
    """Pycocotools' AP in percent: the six means, and per category (C,). NaN where undefined.

    Args:
        truth: COCO annotations.
        predictions: COCO results.
        images: the images evaluated, entries with ``id``, ``height`` and ``width``.
        categories: entries with ``id`` and ``name``.
        task: ``"bbox"`` or ``"segm"``.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not predictions:
        return dict.fromkeys(METRICS, float("nan")), np.full(len(categories), np.nan)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": images,
            "annotations": [{**a, "id": n} for n, a in enumerate(truth, start=1)],
            "categories": categories,
        }
        coco.createIndex()
        found = COCO()
        found.dataset = {**coco.dataset, "annotations": _as_annotations(predictions, task)}
        found.createIndex()
        evaluation = COCOeval(coco, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    means = {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(METRICS, evaluation.stats, strict=False)
    }
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU x recall x category
    valid = np.where(precision >= 0, precision, np.nan)
    undefined = np.isnan(valid).all(axis=(0, 1))
    per_category = np.full(len(categories), np.nan)
    per_category[~undefined] = 100 * np.nanmean(valid[:, :, ~undefined], axis=(0, 1))
    return means, per_category


def _as_annotations(predictions: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """COCO results with the fields that ``COCO.loadRes`` adds; the results stay as they are.

    The area, by which small, medium and large are told apart, is the box's for ``"bbox"`` and the
    mask's for ``"segm"``.
    """
    from pycocotools import mask as coco_mask

    if task == "bbox":
        areas = [p["bbox"][2] * p["bbox"][3] for p in predictions]
    else:
        # One by one: pycocotools overflows on lists of more than 255 masks.
        areas = [coco_mask.area(p["segmentation"]) for p in predictions]
    return [
        {**p, "id": n, "iscrowd": 0, "area": float(area)}
        for n, (p, area) in enumerate(zip(predictions, areas, strict=True), start=1)
    ]


class InstanceEvaluator(DatasetEvaluator):
    """AP of boxes and masks, in percent, by pycocotools; the truth are the id PNGs' things."""

    def __init__(self, truth: PanopticGroundTruth) -> None:
        self.truth = truth
        self.thing_ids = truth.metadata.thing_dataset_id_to_contiguous_id
        self.category_ids = {label: c for c, label in self.thing_ids.items()}
        self.reset()

    def reset(self) -> None:
        self.images: list[dict[str, int]] = []
        self.annotations: list[dict[str, Any]] = []
        self.predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``instances`` of each output, with masks at the image's size."""
        for input_, output in zip(inputs, outputs, strict=True):
            image_id = input_["image_id"]
            annotation = self.truth.annotation(image_id)
            height, width = annotation.ids.shape
            self.images.append({"id": image_id, "height": height, "width": width})
            self.annotations += thing_annotations(annotation, image_id, self.thing_ids)
            for row in instances_to_coco_json(output["instances"].to("cpu"), image_id):
                self.predictions.append(
                    {**row, "category_id": self.category_ids[row["category_id"]]}
                )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"bbox": {"AP": ..., "AP50": ..., "AP-<name>": ...}, "segm": {...}}``.

        None on all processes but the first.
        """
        gathered = comm.gather((self.images, self.annotations, self.predictions))
        if not comm.is_main_process():
            return None
        images, annotations, predictions = (
            [entry for part in parts for entry in part] for parts in zip(*gathered, strict=True)
        )
        categories = [c for c in self.truth.categories if c["isthing"]]
        if not predictions:
            logger.warning(
                "No instance was predicted on %d images: AP is undefined (NaN). Scores are below "
                "MODEL.ROI_HEADS.SCORE_THRESH_TEST; training longer usually helps.",
                len(images),
            )
        results = {}
        rows = []
        for task in ("bbox", "segm"):
            means, per_category = average_precision(
                annotations, predictions, images, categories, task
            )
            names = [f"AP-{c['name']}" for c in categories]
            rows.append((task, *means.values()))
            results[task] = {**means, **dict(zip(names, per_category.tolist(), strict=True))}
        log_table(logger, "Instances", ("", *METRICS), rows)
        return results
