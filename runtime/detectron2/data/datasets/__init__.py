"""Built-in data sets, and the annotation formats that they come in."""

from . import (
    builtin,
    builtin_meta,
    cityscapes,
    cityscapes_panoptic,
    coco,
    coco_panoptic,
    pascal_voc,
)
from .coco import convert_to_coco_json, load_coco_json, load_sem_seg, register_coco_instances
from .coco_panoptic import register_coco_panoptic, register_coco_panoptic_separated
from .pascal_voc import load_voc_instances, register_pascal_voc

__all__ = [
    "builtin",
    "builtin_meta",
    "cityscapes",
    "cityscapes_panoptic",
    "coco",
    "coco_panoptic",
    "convert_to_coco_json",
    "load_coco_json",
    "load_sem_seg",
    "load_voc_instances",
    "pascal_voc",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_pascal_voc",
]
