"""Meta-architectures: ``MODEL.META_ARCHITECTURE``."""

from .panoptic_fpn import SegPanopticFPN
from .semantic_segmentor import SegSemanticSegmentor

__all__ = ["SegPanopticFPN", "SegSemanticSegmentor"]
