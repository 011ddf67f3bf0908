"""Boxes, masks, batched images and per-image instances."""

from detectron2.structures import boxes, image_list, instances, masks
from detectron2.structures.boxes import (
    Boxes,
    BoxMode,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from detectron2.structures.image_list import ImageList
from detectron2.structures.instances import Instances
from detectron2.structures.masks import BitMasks, PolygonMasks, ROIMasks, polygons_to_bitmask

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "PolygonMasks",
    "ROIMasks",
    "boxes",
    "image_list",
    "instances",
    "masks",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
    "polygons_to_bitmask",
]
