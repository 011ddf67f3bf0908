"""Backbones: ``MODEL.BACKBONE.NAME``."""

from .deeplab_resnet import (
    DeepLabStem,
    build_dilated_resnet_backbone,
    build_resnet_deeplab_backbone,
)
from .icnet import ICNetBackbone, build_icnet_backbone
from .timm_adapter import TimmBackbone, build_timm_backbone, build_timm_fpn_backbone
from .unet import UNetBackbone, build_unet_backbone
from .xception_unet import XceptionUNetBackbone, build_xception_unet_backbone

__all__ = [
    "DeepLabStem",
    "ICNetBackbone",
    "TimmBackbone",
    "UNetBackbone",
    "XceptionUNetBackbone",
    "build_dilated_resnet_backbone",
    "build_icnet_backbone",
    "build_resnet_deeplab_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_unet_backbone",
    "build_xception_unet_backbone",
]
