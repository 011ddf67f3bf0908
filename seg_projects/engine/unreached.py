"""Parameters that learn, but that no loss depends on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.config import CfgNode
from detectron2.utils import comm
from seg_projects.errors import UserError

MOST_PARTS = 8

logger = logging.getLogger(__name__)


def check_gradients(cfg: CfgNode, model: nn.Module) -> None:
    """Checks, after the first iteration of a run, that all parameters that learn have a gradient.

    In one process, a warning names those that have none. Several processes would wait for them, and
    torch gives up at the second iteration.

    Raises:
        UserError: a parameter has none, and several processes train.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    number = sum(p.requires_grad and p.grad is None for p in model.parameters())
    if not number:
        return
    parts = list(_unreached_parts(model))
    more = ", ..." if len(parts) > MOST_PARTS else ""
    told = f"Parameters that no loss reaches ({number}): {', '.join(parts[:MOST_PARTS])}{more}."
    maps = _unread_maps(cfg, model) if any(part.startswith("backbone") for part in parts) else []
    if maps:
        told += (
            f" No head reads the backbone's feature maps {', '.join(maps)}: add them to a head's "
            f"IN_FEATURES, or leave them out{_key_of_maps(cfg.MODEL.BACKBONE.NAME)}."
        )
    freeze = "Parameters that are not to learn take requires_grad = False."
    if (processes := comm.get_world_size()) > 1:
        raise UserError(
            f"{told} {freeze} One process trains without them, {processes} processes cannot."
        )
    logger.warning("%s %s One process trains without them, several cannot.", told, freeze)


def _unreached_parts(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the largest parts of ``module`` that learn without any gradient."""
    learning = [p for p in module.parameters() if p.requires_grad]
    if all(p.grad is not None for p in learning):
        return
    if prefix and all(p.grad is None for p in learning):
        yield prefix
        return
    before = f"{prefix}." if prefix else ""
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.requires_grad and parameter.grad is None:
            yield before + name
    for name, child in module.named_children():
        yield from _unreached_parts(child, before + name)


def _unread_maps(cfg: CfgNode, model: nn.Module) -> list[str]:
    """Names of the backbone's maps that stand under no head's ``IN_FEATURES``."""
    node = cfg.MODEL
    read = {name for name, _ in node.SEM_SEG_HEAD.AUXILIARY}
    for part, names in (
        ("sem_seg_head", node.SEM_SEG_HEAD.IN_FEATURES),
        ("ins_embed_head", node.INS_EMBED_HEAD.IN_FEATURES),
        ("proposal_generator", node.RPN.IN_FEATURES),
        ("roi_heads", node.ROI_HEADS.IN_FEATURES),
    ):
        if hasattr(model, part):
            read.update(names)
    return [name for name in model.backbone.output_shape() if name not in read]


def _key_of_maps(backbone: str) -> str:
    """In brackets, the key that chooses the maps of ``backbone``; "" where it is not known."""
    if backbone.endswith("_fpn_backbone"):
        return " (MODEL.FPN.IN_FEATURES)"
    if backbone == "build_timm_backbone":
        return " (MODEL.TIMM.OUT_INDICES)"
    return " (MODEL.RESNETS.OUT_FEATURES)" if "resnet" in backbone else ""
