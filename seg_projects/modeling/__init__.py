"""Networks, registered into Detectron2's builders on import."""

from .backbones import UNetBackbone
from .meta_arch import SegPanopticFPN, SegSemanticSegmentor
from .semantic_heads import AttentionUNetHead, FCNHead, UNetHead

__all__ = [
    "AttentionUNetHead",
    "FCNHead",
    "SegPanopticFPN",
    "SegSemanticSegmentor",
    "UNetBackbone",
    "UNetHead",
]
