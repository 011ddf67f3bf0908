"""Networks, registered into Detectron2's builders on import."""

from .backbones import UNetBackbone
from .meta_arch import SegPanopticDeepLab, SegPanopticFPN, SegSemanticSegmentor
from .semantic_heads import AttentionUNetHead, FCNHead, UNetHead
from .upstream_names import register_where_absent

__all__ = [
    "AttentionUNetHead",
    "FCNHead",
    "SegPanopticDeepLab",
    "SegPanopticFPN",
    "SegSemanticSegmentor",
    "UNetBackbone",
    "UNetHead",
]

register_where_absent()
