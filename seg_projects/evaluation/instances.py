"""Average precision of a model's instances against the thing segments of a panoptic data set."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from seg_projects.evaluation.coco_precision import Task, match_results, precision_scores
from seg_projects.evaluation.gathering import gather_by_image
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


class InstanceEvaluator(DatasetEvaluator):
    """AP and AR of boxes and masks, in percent; the truth are the id PNGs' things."""

    def __init__(self, truth: PanopticGroundTruth) -> None:
        self.truth = truth
        self.thing_ids = truth.metadata.thing_dataset_id_to_contiguous_id
        self.category_ids = {label: c for c, label in self.thing_ids.items()}
        self.reset()

    def reset(self) -> None:
        # Per image: annotations and predictions.
        self.rows: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``instances`` of each output, with masks at the image's size."""
        for input_, output in zip(inputs, outputs, strict=True):
            image_id = input_["image_id"]
            annotation = self.truth.annotation(image_id)
            predictions = [
                {**row, "category_id": self.category_ids[row["category_id"]]}
                for row in instances_to_coco_json(output["instances"].to("cpu"), image_id)
            ]
            annotations = thing_annotations(annotation, image_id, self.thing_ids)
            self.rows[image_id] = (annotations, predictions)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"bbox": {"AP": ..., "AP50": ..., "AP-<name>": ...}, "segm": {...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.rows)
        if by_image is None:
            return None
        annotations = [a for rows, _ in by_image.values() for a in rows]
        predictions = [p for _, rows in by_image.values() for p in rows]
        categories = [c for c in self.truth.categories if c["isthing"]]
        category_ids, names = [c["id"] for c in categories], [c["name"] for c in categories]
        results: dict[str, dict[str, float]] = {}
        rows = []
        tasks: tuple[Task, ...] = ("bbox", "segm")
        for task in tasks:
            matched = match_results(annotations, predictions, category_ids, task)
            scores = precision_scores(matched, names)
            for note in scores.notes:
                logger.warning("%s: %s", task, note)
            rows.append((task, *(scores.summary[key] for key in METRICS)))
            per_category = {f"AP-{n}": v["AP"] for n, v in scores.per_category.items()}
            results[task] = {**scores.summary, **per_category}
        log_table(logger, "Instances", ("", *METRICS), rows)
        return results
