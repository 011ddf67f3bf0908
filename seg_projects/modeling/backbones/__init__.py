"""Backbones: ``MODEL.BACKBONE.NAME``."""

from .unet import UNetBackbone, build_unet_backbone

__all__ = ["UNetBackbone", "build_unet_backbone"]
