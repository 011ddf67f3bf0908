"""The registry of meta-architectures and the builder of models."""

from __future__ import annotations

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry

from .._lookup import find_registered

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """
Whole models: built as ``model(cfg)`` and called with a list of input dicts, they give a dict of
losses in training and a list of result dicts in inference.
"""


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that ``MODEL.META_ARCHITECTURE`` names, untrained, on ``MODEL.DEVICE``."""
    key = "MODEL.META_ARCHITECTURE"
    model = find_registered(META_ARCH_REGISTRY, cfg.MODEL.META_ARCHITECTURE, key=key)(cfg)
    return model.to(torch.device(cfg.MODEL.DEVICE))
