"""From a data set's files to the model's input dicts."""

from detectron2.config import CfgNode

from .class_mask_mapper import ClassMaskMapper
from .datasets.builtin import builtin_root, register_builtin
from .datasets.class_masks import declare_class_masks, register_class_masks
from .datasets.instance_masks import (
    declare_instance_masks,
    register_instance_maps,
    register_mask_folders,
)
from .datasets.instances import declare_instance_datasets, register_instances
from .datasets.panoptic import declare_panoptic_datasets, register_panoptic
from .datasets.semantic import declare_semantic_datasets, register_semantic
from .instance_mapper import InstanceMapper
from .panoptic_deeplab_mapper import PanopticDeepLabMapper
from .panoptic_mapper import PanopticMapper
from .semantic_mapper import SemanticMapper

__all__ = [
    "ClassMaskMapper",
    "InstanceMapper",
    "PanopticDeepLabMapper",
    "PanopticMapper",
    "SemanticMapper",
    "declare_all",
    "declare_class_masks",
    "declare_instance_datasets",
    "declare_instance_masks",
    "declare_panoptic_datasets",
    "declare_semantic_datasets",
    "register_builtin",
    "register_class_masks",
    "register_instance_maps",
    "register_instances",
    "register_mask_folders",
    "register_panoptic",
    "register_semantic",
]


def declare_all(cfg: CfgNode) -> None:
    """Registers every data set that ``cfg`` declares, of whichever kind."""
    declare_panoptic_datasets(cfg)
    declare_semantic_datasets(cfg)
    declare_class_masks(cfg)
    declare_instance_masks(cfg)
    declare_instance_datasets(cfg)


register_builtin(builtin_root())
