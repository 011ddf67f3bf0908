"""Semantic heads: ``MODEL.SEM_SEG_HEAD.NAME``."""

from .base import SemanticHead
from .fcn import FCNHead
from .unet import AttentionUNetHead, UNetHead

__all__ = ["AttentionUNetHead", "FCNHead", "SemanticHead", "UNetHead"]
