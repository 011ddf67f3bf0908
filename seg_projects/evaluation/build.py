"""Which evaluators judge a data set."""

from __future__ import annotations

from pathlib import Path

from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
)
from seg_projects.errors import UserError
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.instances import InstanceEvaluator
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.panoptic import PanopticEvaluator
from seg_projects.evaluation.semantic import SemanticEvaluator


def build_evaluator(dataset_name: str, output_dir: str | Path) -> DatasetEvaluator:
    """The evaluators that ``evaluator_type`` in the metadata of ``dataset_name`` asks for.

    Raises:
        UserError: no evaluator is known for that type.
    """
    metadata = MetadataCatalog.get(dataset_name)
    kind = metadata.get("evaluator_type")
    if kind == "panoptic":
        return DatasetEvaluators(_panoptic_evaluators(dataset_name, output_dir))
    if kind == "coco_panoptic_seg":
        truth = PanopticGroundTruth(dataset_name)
        return DatasetEvaluators(
            [
                PanopticEvaluator(truth),
                COCOEvaluator(dataset_name, output_dir=str(output_dir)),
                SemSegEvaluator(dataset_name, output_dir=str(output_dir)),
            ]
        )
    if kind == "label_maps":
        return SemanticEvaluator(LabelMapGroundTruth(dataset_name))
    if kind == "coco":
        return COCOEvaluator(dataset_name, output_dir=str(output_dir))
    if kind == "sem_seg":
        return SemSegEvaluator(dataset_name, output_dir=str(output_dir))
    raise UserError(
        f"Data set {dataset_name!r} has the evaluator_type {kind!r}; known are 'panoptic', "
        "'label_maps', 'coco_panoptic_seg', 'coco' and 'sem_seg'."
    )


def _panoptic_evaluators(dataset_name: str, output_dir: str | Path) -> list[DatasetEvaluator]:
    truth = PanopticGroundTruth(dataset_name)
    instances: DatasetEvaluator
    if truth.metadata.get("json_file"):
        instances = COCOEvaluator(dataset_name, output_dir=str(output_dir))
    else:
        instances = InstanceEvaluator(truth)
    return [PanopticEvaluator(truth), instances, SemanticEvaluator(truth)]
