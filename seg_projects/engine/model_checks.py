"""What a config can get wrong about its network, named before the first iteration."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping

from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.utils import comm
from seg_projects.architectures import is_kind
from seg_projects.data.augmentation import listed_sizes
from seg_projects.errors import UserError
from seg_projects.modeling.losses import SOFTMAX_LOSSES
from seg_projects.modeling.semantic_heads.base import listed_maps

logger = logging.getLogger(__name__)

# What ``get_norm`` takes; "" is none.
NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
# Heads with a loss of their own, and those that extend them by the losses of the config.
WITH_LOSSES = {
    "SemSegFPNHead": "SegFPNHead",
    "DeepLabV3Head": "SegDeepLabV3Head",
    "DeepLabV3PlusHead": "SegDeepLabV3PlusHead",
}


def has_semantic_head(cfg: CfgNode) -> bool:
    """Whether the meta-architecture classifies pixels."""
    return is_kind(cfg, "Semantic", "Panoptic")


def has_region_heads(cfg: CfgNode) -> bool:
    """Whether the meta-architecture looks at boxes."""
    return is_kind(cfg, "RCNN", "PanopticFPN")


def augments_detections(cfg: CfgNode) -> bool:
    """Whether ``TEST.AUG`` is for a detector, which Detectron2 wraps for it."""
    return cfg.TEST.AUG.ENABLED and has_region_heads(cfg)


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the known word nearest to ``name``; "" where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def check_names(cfg: CfgNode) -> None:
    """Checks the names of parts and of normalisations, and what an FPN takes of its ResNet.

    Raises:
        UserError: one is not known; the nearest one that is, is named.
    """
    parts = {
        "MODEL.META_ARCHITECTURE": (cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        "MODEL.BACKBONE.NAME": (cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
    }
    if has_semantic_head(cfg):
        parts["MODEL.SEM_SEG_HEAD.NAME"] = (cfg.MODEL.SEM_SEG_HEAD.NAME, SEM_SEG_HEADS_REGISTRY)
    if has_region_heads(cfg):
        parts["MODEL.ROI_HEADS.NAME"] = (cfg.MODEL.ROI_HEADS.NAME, ROI_HEADS_REGISTRY)
    for key, (name, registry) in parts.items():
        if name not in registry:
            hint = nearest(name, (known for known, _ in registry))
            raise UserError(
                f"{key} is {name!r}, which is not registered.{hint} Of your own, the module that "
                "registers it is named with --import."
            )
    for key, norm in _norms(cfg.MODEL, "MODEL"):
        if norm not in NORMS:
            raise UserError(
                f"{key} is {norm!r}; known: {', '.join(filter(None, NORMS))}, and '' for none."
                f"{nearest(norm, NORMS)}"
            )
    if cfg.MODEL.BACKBONE.NAME == "build_resnet_fpn_backbone":
        _check_each(
            "MODEL.FPN.IN_FEATURES",
            cfg.MODEL.FPN.IN_FEATURES,
            cfg.MODEL.RESNETS.OUT_FEATURES,
            f"MODEL.RESNETS.OUT_FEATURES has {', '.join(cfg.MODEL.RESNETS.OUT_FEATURES)}",
        )


def check_losses(cfg: CfgNode) -> None:
    """Checks that the losses of the config are used.

    Raises:
        UserError: head or meta-architecture would pass them over.
    """
    head, architecture = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.META_ARCHITECTURE
    if head.AUXILIARY and has_semantic_head(cfg) and not is_kind(cfg, "SegSemanticSegmentor"):
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.AUXILIARY is {head.AUXILIARY}, but MODEL.META_ARCHITECTURE "
            f"{architecture} has no auxiliary losses: SegSemanticSegmentor has."
        )
    own_loss = head.NAME in WITH_LOSSES and has_semantic_head(cfg)
    if own_loss and not head.AUXILIARY and head.LOSSES != [["cross_entropy", 1.0]]:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.LOSSES is {head.LOSSES}, but {head.NAME} has a loss of its own: "
            f"{WITH_LOSSES[head.NAME]} takes them."
        )
    entries = [entry for entry in head.LOSSES if isinstance(entry, list | tuple) and entry]
    softmax = [entry[0] for entry in entries if entry[0] in SOFTMAX_LOSSES]
    if is_kind(cfg, "Semantic") and head.NUM_CLASSES == 1 and softmax:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is 1, of which {softmax[0]} has nothing to learn: "
            "give the background a class of its own, or declare DATASETS.CLASS_MASKS and take "
            "sigmoid losses."
        )
    if cfg.MODEL.PANOPTIC_FPN.LEARN_BALANCE and not is_kind(cfg, "SegPanopticFPN"):
        raise UserError(
            "MODEL.PANOPTIC_FPN.LEARN_BALANCE is True, but MODEL.META_ARCHITECTURE "
            f"{architecture} balances no branches: SegPanopticFPN does."
        )


def check_inference(cfg: CfgNode) -> None:
    """Checks that windows and test-time augmentation are used.

    Raises:
        UserError: the meta-architecture would pass them over.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    semantic = has_semantic_head(cfg) and not is_kind(cfg, "SegSemanticSegmentor")
    if cfg.MODEL.SLIDING_WINDOW.SIZE and (semantic or has_region_heads(cfg)):
        raise UserError(
            f"MODEL.SLIDING_WINDOW.SIZE is {list(cfg.MODEL.SLIDING_WINDOW.SIZE)}, but "
            f"MODEL.META_ARCHITECTURE {architecture} sees whole images: SegSemanticSegmentor has "
            "windows."
        )
    if cfg.TEST.AUG.ENABLED and semantic:
        raise UserError(
            f"TEST.AUG.ENABLED is True, but MODEL.META_ARCHITECTURE {architecture} has no "
            "augmentation at test time: SegSemanticSegmentor and GeneralizedRCNN have."
        )


def _norms(node: CfgNode, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _norms(value, f"{prefix}.{key}")
        elif key == "NORM" and isinstance(value, str):
            yield f"{prefix}.{key}", value


def _check_each(key: str, names: Iterable[str], known: Iterable[str], given: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{key} has {name!r}, but {given}.")


def check_features(cfg: CfgNode, shapes: Mapping[str, ShapeSpec]) -> None:
    """Checks that the heads use feature maps that there are.

    Args:
        cfg: the config.
        shapes: what the backbone gives.

    Raises:
        UserError: a name is none of them; those that there are, are named with their strides.
    """
    keys = {}
    if has_semantic_head(cfg):
        keys["MODEL.SEM_SEG_HEAD.IN_FEATURES"] = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
    if has_region_heads(cfg):
        keys["MODEL.RPN.IN_FEATURES"] = cfg.MODEL.RPN.IN_FEATURES
        keys["MODEL.ROI_HEADS.IN_FEATURES"] = cfg.MODEL.ROI_HEADS.IN_FEATURES
    if is_kind(cfg, "PanopticDeepLab"):
        keys["MODEL.INS_EMBED_HEAD.IN_FEATURES"] = cfg.MODEL.INS_EMBED_HEAD.IN_FEATURES
    for key, names in keys.items():
        _check_each(key, names, shapes, f"the backbone gives {listed_maps(shapes)}")


def check_sizes(cfg: CfgNode, shapes: Mapping[str, ShapeSpec]) -> None:
    """Checks that images are not smaller than the coarsest cell of the backbone's maps.

    Raises:
        UserError: a size is; 0, for images as they are, is not checked.
    """
    name, stride = max(
        ((name, shape.stride or 1) for name, shape in shapes.items()), key=lambda item: item[1]
    )
    node = cfg.INPUT
    sizes = {
        "INPUT.MIN_SIZE_TRAIN": tuple(node.MIN_SIZE_TRAIN),
        "INPUT.MIN_SIZE_TEST": (node.MIN_SIZE_TEST,),
        "INPUT.CROP.SIZE": _absolute_crop(cfg),
        "INPUT.AUGMENTATIONS": tuple(listed_sizes(cfg)),
        "TEST.AUG.MIN_SIZES": tuple(cfg.TEST.AUG.MIN_SIZES) if cfg.TEST.AUG.ENABLED else (),
    }
    for key, values in sizes.items():
        if small := [value for value in values if 0 < value < stride]:
            raise UserError(
                f"{key} has {small[0]} pixels, smaller than {stride}, the stride of the backbone's "
                f"map {name}: take {stride} or more."
            )


def check_only_size(cfg: CfgNode, backbone: nn.Module) -> None:
    """Checks that images fit a backbone that takes one size alone, to which they are padded.

    Raises:
        UserError: images, crops or windows are larger.
    """
    only = getattr(backbone, "only_size", None)
    if only is None:
        return
    node, windows = cfg.INPUT, tuple(cfg.MODEL.SLIDING_WINDOW.SIZE)
    sizes = {
        "MODEL.SLIDING_WINDOW.SIZE": windows,
        "INPUT.MIN_SIZE_TEST": () if windows else (node.MIN_SIZE_TEST,),
        "INPUT.CROP.SIZE": _absolute_crop(cfg),
        "INPUT.MIN_SIZE_TRAIN": ()
        if node.CROP.ENABLED or node.AUGMENTATIONS
        else tuple(node.MIN_SIZE_TRAIN),
    }
    for key, values in sizes.items():
        if large := [value for value in values if value > min(only)]:
            raise UserError(
                f"{key} has {large[0]} pixels, but the backbone takes images of {only[0]} x "
                f"{only[1]} alone: train on crops of that size, INPUT.CROP, and predict in windows "
                "of it, MODEL.SLIDING_WINDOW, or take another backbone."
            )


def _absolute_crop(cfg: CfgNode) -> tuple[int, ...]:
    crop = cfg.INPUT.CROP
    return tuple(crop.SIZE) if crop.ENABLED and crop.TYPE == "absolute" else ()


def check_processes(cfg: CfgNode, model: nn.Module) -> None:
    """Checks that the norms of ``model`` work where several processes train it.

    Raises:
        UserError: torch's SyncBN is to synchronise processes on the CPU.
    """
    if cfg.MODEL.DEVICE != "cpu" or comm.get_world_size() == 1:
        return
    found = [name for name, part in model.named_modules() if isinstance(part, nn.SyncBatchNorm)]
    if found:
        raise UserError(
            f"The model has {len(found)} SyncBN layers ({found[0]}, ...), which work on GPUs alone "
            f"where {comm.get_world_size()} processes train: set their NORM to naiveSyncBN, BN or "
            "GN."
        )


def warn_of_random_parts(cfg: CfgNode, model: nn.Module) -> None:
    """Logs what a backbone without weights will never learn, since it is frozen as drawn."""
    backbone, freeze_at = model.backbone, cfg.MODEL.BACKBONE.FREEZE_AT
    if cfg.MODEL.WEIGHTS or not isinstance(backbone, nn.Module):
        return
    frozen = [name for name, p in backbone.named_parameters() if not p.requires_grad]
    if frozen and freeze_at > 0:
        logger.warning(
            "MODEL.WEIGHTS is empty and MODEL.BACKBONE.FREEZE_AT is %d: %d of %d parameters of the "
            "backbone (%s, ...) keep their random values. Set MODEL.BACKBONE.FREEZE_AT to 0, or "
            "name weights.",
            freeze_at,
            len(frozen),
            len(list(backbone.parameters())),
            frozen[0],
        )
    if norms := _frozen_norms(backbone, learns=not frozen):
        logger.warning(
            "MODEL.WEIGHTS is empty, and %d FrozenBN layers (%s, ...) stand behind convolutions "
            "that learn: without trained statistics they normalise nothing. Set NORM of the "
            "backbone to BN, SyncBN or GN, or name weights.",
            len(norms),
            norms[0],
        )


def _frozen_norms(backbone: nn.Module, *, learns: bool) -> list[str]:
    """Names of the FrozenBN layers of learning layers; ``learns`` where no layer holds the norm."""
    found = []
    for name, module in backbone.named_modules():
        # timm and torchvision have one of their own.
        if type(module).__name__.startswith("FrozenBatchNorm"):
            holder = backbone.get_submodule(name.rpartition(".")[0])
            own = [p.requires_grad for p in holder.parameters(recurse=False)]
            if any(own) or (learns and not own):
                found.append(name)
    return found
