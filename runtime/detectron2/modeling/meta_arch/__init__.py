"""Whole models: from a batch of input dicts to losses or results."""

from . import build, panoptic_fpn, rcnn, semantic_seg
from .build import META_ARCH_REGISTRY, build_model
from .panoptic_fpn import PanopticFPN
from .rcnn import GeneralizedRCNN, ProposalNetwork
from .semantic_seg import SEM_SEG_HEADS_REGISTRY, SemanticSegmentor, build_sem_seg_head

__all__ = [
    "META_ARCH_REGISTRY",
    "SEM_SEG_HEADS_REGISTRY",
    "GeneralizedRCNN",
    "PanopticFPN",
    "ProposalNetwork",
    "SemanticSegmentor",
    "build",
    "build_model",
    "build_sem_seg_head",
    "panoptic_fpn",
    "rcnn",
    "semantic_seg",
]
