"""Meta-architectures: ``MODEL.META_ARCHITECTURE``."""

from .panoptic_deeplab import PanopticDeepLab, SegPanopticDeepLab
from .panoptic_fpn import SegPanopticFPN
from .semantic_segmentor import SegSemanticSegmentor

__all__ = [
    "PanopticDeepLab",
    "SegPanopticDeepLab",
    "SegPanopticFPN",
    "SegSemanticSegmentor",
]
