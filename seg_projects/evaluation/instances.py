"""Average precision of a model's instances."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from seg_projects.data.categories import output_categories
from seg_projects.evaluation.coco_precision import Task
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.image_states import write_states
from seg_projects.evaluation.instance_scores import evaluate_instances
from seg_projects.evaluation.instance_truth import InstanceTruth
from seg_projects.evaluation.scores import write_scores_json
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)

TASKS: tuple[Task, ...] = ("bbox", "segm")
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class InstanceEvaluator(DatasetEvaluator):
    """AP and AR of boxes and masks, in percent.

    The truth are COCO annotations, or the things of a panoptic data set's id PNGs.
    """

    def __init__(
        self,
        truth: PanopticGroundTruth | InstanceTruth,
        output_dir: str | Path | None = None,
        *,
        max_detections: int = 100,
        boundary_share: float = 0.0,
        num_worst: int = 20,
    ) -> None:
        """Average precision against ``truth``.

        Args:
            truth: the annotations.
            output_dir: folder for ``instances_bbox.json`` and ``instances_segm.json``, all
                numbers, notes and the worst images, and for ``..._images.npz``, from which runs
                are compared.
            max_detections: so many of an image and category count, those of the best scores.
            boundary_share: of masks, boundary AP too (``BAP``); 0 leaves it out, 0.02 is usual.
            num_worst: images that are named per metric.
        """
        self.truth, self.num_worst = truth, num_worst
        self.boundary_share = boundary_share
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.max_detections = max_detections
        thing_ids = output_categories(truth.metadata).thing_ids
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
        categories = {c: names[label] for label, c in sorted(self.category_ids.items())}
        file_names = {image_id: self.truth.file_name(image_id) for image_id in by_image}
        results: dict[str, dict[str, float]] = {}
        for task in TASKS:
            scores, state = evaluate_instances(
                annotations,
                predictions,
                categories,
                task,
                file_names,
                max_detections=self.max_detections,
                boundary_share=self.boundary_share,
                num_worst=self.num_worst,
            )
            for note in scores.notes:
                logger.warning("%s: %s", task, note)
            if self.output_dir is not None:
                self.output_dir.mkdir(parents=True, exist_ok=True)
                write_scores_json(self.output_dir / f"instances_{task}.json", scores)
                write_states(self.output_dir / f"instances_{task}_images.npz", state)
            per_category = {f"AP-{n}": v["AP"] for n, v in scores.per_category.items()}
            results[task] = {**scores.summary, **per_category}
        rows = [(task, *(figures[key] for key in METRICS)) for task, figures in results.items()]
        log_table(logger, "Instances", ("", *METRICS), rows)
        return results
