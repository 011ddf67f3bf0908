"""Builds the proposal generator that a config names."""

from __future__ import annotations

from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

from .._lookup import find_registered

__all__ = ["PROPOSAL_GENERATOR_REGISTRY", "build_proposal_generator"]

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
PROPOSAL_GENERATOR_REGISTRY.__doc__ = """
Modules that propose boxes from feature maps; each is called as ``cls(cfg, input_shape)``, and then
as ``module(images, features, gt_instances)``, which gives the proposals and the losses.
"""


def build_proposal_generator(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module | None:
    """The module that ``cfg.MODEL.PROPOSAL_GENERATOR.NAME`` names.

    ``None`` for the name ``PrecomputedProposals``: they come with the inputs.
    """
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    generator = find_registered(PROPOSAL_GENERATOR_REGISTRY, name, "MODEL.PROPOSAL_GENERATOR.NAME")
    return generator(cfg, input_shape)
