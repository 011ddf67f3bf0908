"""The prediction that fits a model: panoptic, semantic, masks of classes or instances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from detectron2.config import CfgNode
from seg_projects.architectures import is_kind
from seg_projects.data.datasets.class_masks import holds_class_masks
from seg_projects.engine.class_mask_prediction import ClassMaskFiles, ClassMaskPredictor
from seg_projects.engine.instance_prediction import InstanceFiles, InstancePredictor
from seg_projects.engine.prediction_files import PanopticFiles, PredictionFiles
from seg_projects.engine.predictor import PanopticPredictor
from seg_projects.engine.semantic_prediction import SemanticFiles, SemanticPredictor

Kind = Literal["panoptic", "semantic", "class_masks", "instances"]


def prediction_kind(cfg: CfgNode) -> Kind:
    """What the model gives, by its meta-architecture and what it was trained with."""
    if is_kind(cfg, "Panoptic"):
        return "panoptic"
    if is_kind(cfg, "Semantic"):
        return "class_masks" if holds_class_masks(cfg) else "semantic"
    return "instances"


def build_prediction(
    cfg: CfgNode, output_dir: Path
) -> tuple[Callable[[np.ndarray], Any], PredictionFiles]:
    """The model as a function of an RGB image, and what writes its predictions.

    Raises:
        UserError: the model's categories are unknown, or not as many as it has classes.
    """
    kind = prediction_kind(cfg)
    if kind == "panoptic":
        panoptic = PanopticPredictor(cfg)
        return panoptic, PanopticFiles(output_dir, panoptic.categories)
    if kind == "semantic":
        semantic = SemanticPredictor(cfg)
        return semantic, SemanticFiles(output_dir, semantic.categories)
    if kind == "class_masks":
        masks = ClassMaskPredictor(cfg)
        return masks, ClassMaskFiles(output_dir, masks.categories)
    instances = InstancePredictor(cfg)
    return instances, InstanceFiles(output_dir, instances.categories)
