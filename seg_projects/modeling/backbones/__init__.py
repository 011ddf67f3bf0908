"""Backbones: ``MODEL.BACKBONE.NAME``."""

from .deeplab_resnet import DeepLabStem, build_resnet_deeplab_backbone
from .unet import UNetBackbone, build_unet_backbone
from .xception_unet import XceptionUNetBackbone, build_xception_unet_backbone

__all__ = [
    "DeepLabStem",
    "UNetBackbone",
    "XceptionUNetBackbone",
    "build_resnet_deeplab_backbone",
    "build_unet_backbone",
    "build_xception_unet_backbone",
]
