"""Evaluation of models on data sets."""

from . import (
    cityscapes_evaluation,
    coco_evaluation,
    evaluator,
    panoptic_evaluation,
    pascal_voc_evaluation,
    sem_seg_evaluation,
    testing,
)
from .cityscapes_evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from .coco_evaluation import COCOEvaluator
from .evaluator import DatasetEvaluator, DatasetEvaluators, inference_context, inference_on_dataset
from .panoptic_evaluation import COCOPanopticEvaluator
from .pascal_voc_evaluation import PascalVOCDetectionEvaluator
from .sem_seg_evaluation import SemSegEvaluator
from .testing import print_csv_format, verify_results

__all__ = [
    "COCOEvaluator",
    "COCOPanopticEvaluator",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "PascalVOCDetectionEvaluator",
    "SemSegEvaluator",
    "cityscapes_evaluation",
    "coco_evaluation",
    "evaluator",
    "inference_context",
    "inference_on_dataset",
    "panoptic_evaluation",
    "pascal_voc_evaluation",
    "print_csv_format",
    "sem_seg_evaluation",
    "testing",
    "verify_results",
]
