"""Which evaluators judge a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
)
from seg_projects.errors import UserError
from seg_projects.evaluation.cityscapes_evaluators import (
    CityscapesInstanceEvaluator,
    CityscapesSemanticEvaluator,
)
from seg_projects.evaluation.class_masks import ClassMaskEvaluator, ClassMaskTruth
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.instance_truth import instance_truth
from seg_projects.evaluation.instances import InstanceEvaluator
from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
from seg_projects.evaluation.panoptic import PanopticEvaluator
from seg_projects.evaluation.panoptic_boundaries import check_boundary_share
from seg_projects.evaluation.semantic import SemanticEvaluator
from seg_projects.evaluation.semantic_metrics import SemanticMetric, build_semantic_metrics

PANOPTIC_TYPES = ("panoptic", "coco_panoptic_seg", "cityscapes_panoptic_seg")


def build_evaluator(
    dataset_name: str,
    output_dir: str | Path,
    *,
    semantic_metrics: Sequence[Any] = (),
    max_detections: int = 100,
    boundary_share: float = 0.0,
) -> DatasetEvaluator:
    """The evaluators that ``evaluator_type`` in the metadata of ``dataset_name`` asks for.

    Args:
        dataset_name: a registered data set.
        output_dir: folder for what the evaluators write: all numbers and notes as JSON.
        semantic_metrics: beyond those of pixels, as ``TEST.SEMANTIC_METRICS`` names them.
        max_detections: so many of an image and category count.
        boundary_share: of boundary PQ and boundary AP, as ``TEST.BOUNDARY_SHARE``.

    Raises:
        UserError: no evaluator is known for that type.
    """
    check_boundary_share(boundary_share)
    metadata = MetadataCatalog.get(dataset_name)
    metrics = build_semantic_metrics(semantic_metrics)
    kind = metadata.get("evaluator_type")
    if kind in PANOPTIC_TYPES:
        return DatasetEvaluators(
            _panoptic_evaluators(dataset_name, output_dir, metrics, max_detections, boundary_share)
        )
    if kind == "label_maps":
        return SemanticEvaluator(LabelMapGroundTruth(dataset_name), metrics, output_dir)
    if kind == "class_masks":
        if semantic_metrics:
            raise UserError(
                f"TEST.SEMANTIC_METRICS is {list(semantic_metrics)}, and data set {dataset_name!r} "
                "has masks of classes, of which IoU and Dice are measured: leave it []."
            )
        return ClassMaskEvaluator(ClassMaskTruth(dataset_name), output_dir)
    if kind == "instances":
        return InstanceEvaluator(
            instance_truth(dataset_name),
            output_dir,
            max_detections=max_detections,
            boundary_share=boundary_share,
        )
    if kind == "coco":
        return _coco_evaluator(dataset_name, output_dir, max_detections)
    if kind == "cityscapes_instance":
        return CityscapesInstanceEvaluator(dataset_name, output_dir)
    if kind == "cityscapes_sem_seg":
        return CityscapesSemanticEvaluator(dataset_name, output_dir)
    if kind == "sem_seg":
        return SemSegEvaluator(dataset_name, output_dir=str(output_dir))
    raise UserError(
        f"Data set {dataset_name!r} has the evaluator_type {kind!r}; known are 'panoptic', "
        "'label_maps', 'class_masks', 'instances', 'coco_panoptic_seg', "
        "'cityscapes_panoptic_seg', 'cityscapes_instance', 'cityscapes_sem_seg', 'coco' and "
        "'sem_seg'."
    )


def _panoptic_evaluators(
    dataset_name: str,
    output_dir: str | Path,
    metrics: Sequence[SemanticMetric],
    max_detections: int,
    boundary_share: float,
) -> list[DatasetEvaluator]:
    truth = PanopticGroundTruth(dataset_name)
    instances: DatasetEvaluator
    semantic: DatasetEvaluator
    if truth.metadata.get("json_file"):
        instances = _coco_evaluator(_things_alone(dataset_name), output_dir, max_detections)
    else:
        instances = InstanceEvaluator(
            truth, output_dir, max_detections=max_detections, boundary_share=boundary_share
        )
    if truth.metadata.get("sem_seg_root"):
        # Detectron2's labels of COCO's stuff come from PNGs of their own.
        semantic = SemSegEvaluator(dataset_name, output_dir=str(output_dir))
    else:
        semantic = SemanticEvaluator(truth, metrics, output_dir)
    panoptic = PanopticEvaluator(truth, output_dir, boundary_share=boundary_share)
    return [panoptic, instances, semantic]


def _coco_evaluator(
    dataset_name: str, output_dir: str | Path, max_detections: int
) -> DatasetEvaluator:
    """Detectron2's; COCO's own limit of 100 has its own numbers there."""
    limit = None if max_detections == 100 else max_detections
    return COCOEvaluator(dataset_name, output_dir=str(output_dir), max_dets_per_image=limit)


def _things_alone(dataset_name: str) -> str:
    """A name in the metadata whose ``thing_classes`` are those of the instances JSON.

    Detectron2's joint data sets list stuff among them, which its COCOEvaluator rejects.
    """
    metadata = MetadataCatalog.get(dataset_name)
    classes = metadata.thing_dataset_id_to_contiguous_id
    if len(classes) == len(metadata.thing_classes):
        return dataset_name
    name = f"{dataset_name}_things"
    MetadataCatalog.get(name).set(
        json_file=metadata.json_file,
        thing_classes=[metadata.thing_classes[i] for i in sorted(classes.values())],
        thing_dataset_id_to_contiguous_id=classes,
    )
    return name
