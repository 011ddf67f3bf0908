"""Average precision of a model's instances."""

from __future__ import annotations

import logging
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from seg_projects.evaluation.coco_precision import Task, match_results, precision_scores
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.instance_truth import InstanceGroundTruth
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class InstanceEvaluator(DatasetEvaluator):
    """AP and AR of boxes and masks, in percent.

    The truth are COCO annotations, or the things of a panoptic data set's id PNGs.
    """

    def __init__(
        self, truth: PanopticGroundTruth | InstanceGroundTruth, *, max_detections: int = 100
    ) -> None:
        """Takes the truth and how many detections of an image and category count."""
        self.truth = truth
        self.max_detections = max_detections
        thing_ids = truth.metadata.thing_dataset_id_to_contiguous_id
        self.category_ids = {label: c for c, label in thing_ids.items()}
        self.reset()

    def reset(self) -> None:
        # Per image: annotations and predictions.
        self.rows: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``instances`` of each output, with masks at the image's size.

        An output without them, as Panoptic-DeepLab has where it finds nothing, has none.
        """
        for input_, output in zip(inputs, outputs, strict=True):
            image_id = input_["image_id"]
            found = (
                instances_to_coco_json(output["instances"].to("cpu"), image_id)
                if "instances" in output
                else []
            )
            predictions = [
                {**row, "category_id": self.category_ids[row["category_id"]]} for row in found
            ]
            self.rows[image_id] = (self.truth.instance_annotations(image_id), predictions)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"bbox": {"AP": ..., "AP50": ..., "AP-<name>": ...}, "segm": {...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.rows)
        if by_image is None:
            return None
        annotations = [a for rows, _ in by_image.values() for a in rows]
        predictions = [p for _, rows in by_image.values() for p in rows]
        names = self.truth.metadata.thing_classes
        category_ids = [self.category_ids[label] for label in range(len(names))]
        results: dict[str, dict[str, float]] = {}
        rows = []
        tasks: tuple[Task, ...] = ("bbox", "segm")
        for task in tasks:
            matched = match_results(
                annotations, predictions, category_ids, task, self.max_detections
            )
            scores = precision_scores(matched, names, self.max_detections)
            for note in scores.notes:
                logger.warning("%s: %s", task, note)
            rows.append((task, *(scores.summary[key] for key in METRICS)))
            per_category = {f"AP-{n}": v["AP"] for n, v in scores.per_category.items()}
            results[task] = {**scores.summary, **per_category}
        log_table(logger, "Instances", ("", *METRICS), rows)
        return results
