"""Builds the backbone that a config names."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

from .._lookup import find_registered
from .backbone import Backbone

__all__ = ["BACKBONE_REGISTRY", "build_backbone"]

BACKBONE_REGISTRY = Registry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = """
Functions and classes that give a backbone; each is called as ``builder(cfg, input_shape)`` and
returns a ``Backbone``.
"""


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """The backbone that ``cfg.MODEL.BACKBONE.NAME`` names.

    Args:
        cfg: the config.
        input_shape: what the backbone is fed; images of as many channels as
            ``cfg.MODEL.PIXEL_MEAN`` has, if absent.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    name = cfg.MODEL.BACKBONE.NAME
    backbone = find_registered(BACKBONE_REGISTRY, name, "MODEL.BACKBONE.NAME")(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"MODEL.BACKBONE.NAME = {name!r} built a {type(backbone).__name__}, not a Backbone."
        )
    return backbone
