"""Heads that find instances without boxes: ``MODEL.INS_EMBED_HEAD.NAME``."""

from .panoptic_deeplab import (
    INS_EMBED_BRANCHES_REGISTRY,
    PanopticDeepLabInsEmbedHead,
    build_ins_embed_branch,
)

__all__ = ["INS_EMBED_BRANCHES_REGISTRY", "PanopticDeepLabInsEmbedHead", "build_ins_embed_branch"]
