"""From annotation tools to COCO: readers to one neutral form, writers from it."""

from .annotated import AnnotatedImage, BoxMask, ConversionLog, MaskedObject, ReaderOptions
from .categories import CategoryChoice
from .coco_instances import write_coco_instances
from .coco_panoptic import OVERLAP_RULES, write_coco_panoptic
from .label_maps import write_label_maps
from .output import OutputFolder
from .readers import READERS, known_categories
from .two_channels import write_two_channels

__all__ = [
    "OVERLAP_RULES",
    "READERS",
    "AnnotatedImage",
    "BoxMask",
    "CategoryChoice",
    "ConversionLog",
    "MaskedObject",
    "OutputFolder",
    "ReaderOptions",
    "known_categories",
    "write_coco_instances",
    "write_coco_panoptic",
    "write_label_maps",
    "write_two_channels",
]
