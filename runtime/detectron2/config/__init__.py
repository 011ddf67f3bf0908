"""Configurations: YAML nodes (``CfgNode``) and lazily built Python objects (``LazyConfig``)."""

from detectron2.config.config import CfgNode, configurable, get_cfg, global_cfg, set_global_cfg

__all__ = ["CfgNode", "configurable", "get_cfg", "global_cfg", "set_global_cfg"]
