"""Semantic heads: ``MODEL.SEM_SEG_HEAD.NAME``."""

from .auxiliary import AuxiliaryClassifiers
from .base import SemanticHead
from .deeplab import DeepLabV3Head, DeepLabV3PlusHead
from .fcn import FCNHead
from .icnet import ICNetHead
from .panoptic_deeplab import PanopticDeepLabSemSegHead
from .setr import SETRMLAHead, SETRNaiveHead, SETRPUPHead
from .unet import AttentionUNetHead, UNetHead
from .weighted import SegDeepLabV3Head, SegDeepLabV3PlusHead, SegFPNHead
from .xception_unet import XceptionUNetHead

__all__ = [
    "AttentionUNetHead",
    "AuxiliaryClassifiers",
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "FCNHead",
    "ICNetHead",
    "PanopticDeepLabSemSegHead",
    "SETRMLAHead",
    "SETRNaiveHead",
    "SETRPUPHead",
    "SegDeepLabV3Head",
    "SegDeepLabV3PlusHead",
    "SegFPNHead",
    "SemanticHead",
    "UNetHead",
    "XceptionUNetHead",
]
