"""Semantic heads: ``MODEL.SEM_SEG_HEAD.NAME``."""

from .deeplab import DeepLabV3Head, DeepLabV3PlusHead
from .panoptic_deeplab import PanopticDeepLabSemSegHead

__all__ = ["DeepLabV3Head", "DeepLabV3PlusHead", "PanopticDeepLabSemSegHead"]
