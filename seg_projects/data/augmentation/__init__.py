"""Augmentations that move image, boxes, masks, label map and panoptic map together."""

from .build import (
    AUGMENTATIONS,
    Pipeline,
    Step,
    build_augmentations,
    has_copy_paste,
    listed_sizes,
    split_steps,
)
from .copy_paste import CopyPaste, paste_pixels

__all__ = [
    "AUGMENTATIONS",
    "CopyPaste",
    "Pipeline",
    "Step",
    "build_augmentations",
    "has_copy_paste",
    "listed_sizes",
    "paste_pixels",
    "split_steps",
]
