"""Configurations: YAML nodes (``CfgNode``) and lazily built Python objects (``LazyConfig``)."""

from detectron2.config.config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg
from detectron2.config.instantiate import instantiate
from detectron2.config.lazy import LazyCall, LazyConfig

__all__ = [
    "CfgNode",
    "LazyCall",
    "LazyConfig",
    "configurable",
    "get_cfg",
    "global_cfg",
    "instantiate",
    "set_global_cfg",
]
