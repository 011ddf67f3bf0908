"""Config keys of DeepLab and Panoptic-DeepLab: Detectron2's names, types and meanings."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from detectron2.data import Metadata
from seg_projects.architectures import is_kind
from seg_projects.errors import UserError


def add_deeplab_keys(cfg: CfgNode) -> None:
    """Adds the keys with their defaults to ``cfg``, in place."""
    # Largest share of a crop that one class may fill, in (0, 1]; 1 takes every crop.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Learning rate (1 - progress)^POWER, and where it stops falling, as a share of BASE_LR.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0

    resnets = cfg.MODEL.RESNETS
    resnets.STEM_TYPE = "deeplab"  # three 3x3 convolutions; "basic": one of 7x7
    resnets.RES4_DILATION = 1  # 2 for the output stride 8
    resnets.RES5_MULTI_GRID = [1, 2, 4]  # factors on RES5_DILATION, one per block of res5

    head = cfg.MODEL.SEM_SEG_HEAD
    head.LOSS_TYPE = "hard_pixel_mining"  # or "cross_entropy"
    head.LOSS_TOP_K = 0.2  # share of hard pixels that Panoptic-DeepLab's loss takes, in (0, 1]
    head.PROJECT_FEATURES = ["res2"]  # IN_FEATURES but the coarsest
    head.PROJECT_CHANNELS = [48]  # one per PROJECT_FEATURES
    head.ASPP_CHANNELS = 256
    head.ASPP_DILATIONS = [6, 12, 18]  # in cells of the coarsest map
    head.ASPP_DROPOUT = 0.1  # probability
    head.USE_DEPTHWISE_SEPARABLE_CONV = False
    head.HEAD_CHANNELS = 256  # before Panoptic-DeepLab's classifier


def add_panoptic_deeplab_keys(cfg: CfgNode) -> None:
    """Adds the keys that Panoptic-DeepLab has beyond those of :func:`add_deeplab_keys`."""
    cfg.INPUT.GAUSSIAN_SIGMA = 10  # of the peaks in the centre map, in pixels
    cfg.INPUT.IGNORE_STUFF_IN_OFFSET = True
    cfg.INPUT.SMALL_INSTANCE_AREA = 4096  # things below this many pixels ...
    cfg.INPUT.SMALL_INSTANCE_WEIGHT = 3  # ... weigh this much in the semantic loss
    cfg.INPUT.IGNORE_CROWD_IN_SEMANTIC = False

    cfg.MODEL.INS_EMBED_HEAD = CfgNode(
        {
            "NAME": "PanopticDeepLabInsEmbedHead",
            "IN_FEATURES": ["res2", "res3", "res5"],
            "PROJECT_FEATURES": ["res2", "res3"],
            "PROJECT_CHANNELS": [32, 64],
            "ASPP_CHANNELS": 256,
            "ASPP_DILATIONS": [6, 12, 18],
            "ASPP_DROPOUT": 0.1,
            "HEAD_CHANNELS": 32,
            "CONVS_DIM": 128,
            "COMMON_STRIDE": 4,
            "NORM": "SyncBN",
            "CENTER_LOSS_WEIGHT": 200.0,
            "OFFSET_LOSS_WEIGHT": 0.01,  # per pixel
        }
    )
    cfg.MODEL.PANOPTIC_DEEPLAB = CfgNode(
        {
            "STUFF_AREA": 2048,  # smallest stuff segment, in pixels
            "CENTER_THRESHOLD": 0.1,
            "NMS_KERNEL": 7,  # a centre is the maximum of this many pixels squared
            "TOP_K_INSTANCE": 200,
            "PREDICT_INSTANCES": True,  # scored instances too, for AP
            "USE_DEPTHWISE_SEPARABLE_CONV": False,
            "SIZE_DIVISIBILITY": -1,  # inputs are padded to multiples; -1: those of the backbone
            "BENCHMARK_NETWORK_SPEED": False,  # inference gives nothing: to time the network
            # Ours. True: the loader ships segment ids, 4 bytes a pixel in place of 32, and the
            # model makes the training targets on its device.
            "TARGETS_ON_DEVICE": False,
            # Ours. Offsets count pixels of the network's input. True scales them where the result
            # has another size; False leaves them, as Detectron2 does, and breaks things apart.
            "SCALE_OFFSETS": False,
        }
    )


def needs_joint_classes(cfg: CfgNode) -> bool:
    """Whether the model has one semantic class per category, things too, as Panoptic-DeepLab."""
    return is_kind(cfg, "PanopticDeepLab")


def check_joint_classes(metadata: Metadata) -> None:
    """Raises UserError where things and stuff of a data set share numbers, as in Panoptic FPN's."""
    things = metadata.get("thing_dataset_id_to_contiguous_id")
    stuff = metadata.get("stuff_dataset_id_to_contiguous_id")
    if things is None or stuff is None:
        raise UserError(
            f"Data set {metadata.name!r} is not panoptic, and Panoptic-DeepLab needs a panoptic "
            "one: declare it under DATASETS.PANOPTIC, or name one such as coco_2017_train_panoptic."
        )
    # What a category is in both maps, it is but once.
    of_stuff = {label for category, label in stuff.items() if category not in things}
    if shared := of_stuff & set(things.values()):
        raise UserError(
            f"Data set {metadata.name!r} numbers things and stuff apart (both have a class "
            f"{min(shared)}); Panoptic-DeepLab needs joint classes, as in coco_2017_train_panoptic "
            "or in what DATASETS.PANOPTIC declares."
        )


def target_settings(cfg: CfgNode, metadata: Metadata) -> dict[str, Any]:
    """What Panoptic-DeepLab's training targets depend on, as their generators take it."""
    return {
        "ignore_label": metadata.ignore_label,
        "thing_ids": frozenset(metadata.thing_dataset_id_to_contiguous_id.values()),
        "sigma": cfg.INPUT.GAUSSIAN_SIGMA,
        "ignore_stuff_in_offset": cfg.INPUT.IGNORE_STUFF_IN_OFFSET,
        "small_instance_area": cfg.INPUT.SMALL_INSTANCE_AREA,
        "small_instance_weight": cfg.INPUT.SMALL_INSTANCE_WEIGHT,
        "ignore_crowd_in_semantic": cfg.INPUT.IGNORE_CROWD_IN_SEMANTIC,
    }
