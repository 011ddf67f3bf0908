"""Backbones: ``MODEL.BACKBONE.NAME``."""

from .deeplab_resnet import DeepLabStem, build_resnet_deeplab_backbone

__all__ = ["DeepLabStem", "build_resnet_deeplab_backbone"]
