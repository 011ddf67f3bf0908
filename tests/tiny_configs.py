"""Any config made tiny: narrow networks, small images, generated data of the kind it wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from detectron2.config import CfgNode, get_cfg
from seg_projects import add_seg_projects_config
from seg_projects.engine import SegTrainer
from seg_projects.errors import UserError

SIZE = 64
# 32 is what group norm divides.
WIDTH = 32
# Whole numbers, or lists of them, that are channels or counts: none stays larger.
LIMITS = {
    **dict.fromkeys(
        (
            *("CONVS_DIM", "CONV_DIM", "FC_DIM", "OUT_CHANNELS", "CHANNELS", "DECODER_CHANNELS"),
            *("PROJECT_CHANNELS", "ASPP_CHANNELS", "HEAD_CHANNELS"),
        ),
        WIDTH,
    ),
    **dict.fromkeys(
        (
            *("PRE_NMS_TOPK_TRAIN", "PRE_NMS_TOPK_TEST", "POST_NMS_TOPK_TRAIN"),
            *("POST_NMS_TOPK_TEST", "BATCH_SIZE_PER_IMAGE", "DETECTIONS_PER_IMAGE"),
        ),
        16,
    ),
    **dict.fromkeys(("MIN_SIZE_TRAIN", "MIN_SIZE_TEST", "SIZE", "SIZE_DIVISIBILITY"), SIZE),
    **dict.fromkeys(("MAX_SIZE_TRAIN", "MAX_SIZE_TEST"), SIZE),
    "DEPTH": 50,
    "IMS_PER_BATCH": 2,
    "NUM_WORKERS": 0,
    "WIDTH_PER_GROUP": WIDTH,
}


def unet_config(**keys: Any) -> CfgNode:
    """A U-Net of three levels and three classes for ``SegSemanticSegmentor``, on the CPU.

    ``keys`` are set last, under their full names.
    """
    import seg_projects.modeling  # noqa: F401 - registers

    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "SegSemanticSegmentor"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_unet_backbone", 0
    cfg.MODEL.UNET.CHANNELS = [4, 6, 8]
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME, head.NORM, head.NUM_CLASSES = "UNetHead", "BN", 3
    head.IN_FEATURES = ["down0", "down1", "down2"]
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


def shrink(cfg: CfgNode) -> None:
    """Makes the network narrow and the images small, in place; what it is made of stays."""
    _limit(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    if cfg.MODEL.TIMM.NAME.startswith("vit_large"):
        _shrink_vit(cfg)
    # Detectron2 has its ResNets of 18 and 34 layers in one width alone.
    if cfg.MODEL.RESNETS.DEPTH >= 50 or not cfg.MODEL.BACKBONE.NAME.startswith("build_resnet"):
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = WIDTH


def _shrink_vit(cfg: CfgNode) -> None:
    """ViT-L becomes ViT-Ti, with 12 blocks for 24: each map that of the block half as deep."""
    cfg.MODEL.TIMM.NAME = "vit_tiny_patch16_224"
    cfg.MODEL.TIMM.OUT_INDICES = [index // 2 for index in cfg.MODEL.TIMM.OUT_INDICES]
    half = {f"block{index}": f"block{index // 2}" for index in range(24)}
    head = cfg.MODEL.SEM_SEG_HEAD
    head.IN_FEATURES = [half[name] for name in head.IN_FEATURES]
    head.AUXILIARY = [[half[name], weight] for name, weight in head.AUXILIARY]


def _limit(node: CfgNode) -> None:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _limit(value)
        elif value in ("SyncBN", "FrozenBN"):
            # One asks for a GPU, the other for trained weights.
            node[key] = "BN"
        elif key in LIMITS:
            node[key] = _limited(value, LIMITS[key])


def _limited(value: Any, limit: int) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_limited(part, limit) for part in value)
    return min(value, limit) if isinstance(value, int) else value


def build_or_skip(cfg: CfgNode) -> nn.Module:
    """The model of ``cfg``; a test that wants a library which is an extra is skipped without it."""
    try:
        return SegTrainer.build_model(cfg)
    except UserError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise


def use_generated_data(cfg: CfgNode, root: Path) -> None:
    """Declares two small images of what the meta-architecture learns as all of the data sets.

    ``DATASETS.TRAIN`` and ``TEST`` then name them; files lie below ``root``.
    """
    root.mkdir(parents=True, exist_ok=True)
    for key, value in cfg.DATASETS.items():
        if isinstance(value, list):
            cfg.DATASETS[key] = []
    architecture = cfg.MODEL.META_ARCHITECTURE
    _write_images(root)
    name = f"generated_{root.name}"
    entry: dict[str, Any] = {"NAME": name, "IMAGES": "images"}
    if "Semantic" in architecture:
        count = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        _write_labels(root, count)
        entry |= {"LABELS": "labels", "CLASSES": [f"class{i}" for i in range(count)]}
        cfg.DATASETS.SEMANTIC = [entry]
    elif "Panoptic" in architecture:
        _write_panoptic(root, *_panoptic_classes(cfg))
        entry |= {"PANOPTIC_JSON": "panoptic.json", "PANOPTIC_MASKS": "masks"}
        cfg.DATASETS.PANOPTIC = [entry]
    else:
        _write_instances(root, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
        cfg.DATASETS.INSTANCES = [entry | {"INSTANCES_JSON": "instances.json"}]
    cfg.DATASETS.ROOT = str(root)
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)


def _panoptic_classes(cfg: CfgNode) -> tuple[int, int]:
    """How many classes of things and of stuff the model has."""
    classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if "FPN" in cfg.MODEL.META_ARCHITECTURE:
        # One semantic class stands for all things.
        return cfg.MODEL.ROI_HEADS.NUM_CLASSES, classes - 1
    return classes // 2, classes - classes // 2


def _write_images(root: Path) -> None:
    (root / "images").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")


def _write_labels(root: Path, count: int) -> None:
    (root / "labels").mkdir(exist_ok=True)
    # Bands of all classes, and a band that does not count.
    rows = np.arange(SIZE) * (count + 1) // SIZE
    rows[rows == count] = 255
    for number in range(2):
        labels = np.repeat(rows[:, None], SIZE, axis=1).astype(np.uint8)
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")


# Things as (y, x, height, width).
BOXES = ((4, 4, 24, 28), (34, 20, 26, 40))


def _image_records() -> list[dict[str, Any]]:
    return [
        {"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE}
        for number in range(2)
    ]


def _write_panoptic(root: Path, things: int, stuff: int) -> None:
    (root / "masks").mkdir(exist_ok=True)
    ids = np.full((SIZE, SIZE), 1, dtype=np.uint8)
    segments: list[dict[str, Any]] = [{"id": 1, "category_id": things + stuff, "iscrowd": 0}]
    for number, (y, x, height, width) in enumerate(BOXES, start=2):
        ids[y : y + height, x : x + width] = number
        segments.append({"id": number, "category_id": min(number - 1, things), "iscrowd": 0})
    ids[-2:] = 0
    for segment in segments:
        ys, xs = np.nonzero(ids == segment["id"])
        x, y = int(xs.min()), int(ys.min())
        size = [int(xs.max()) - x + 1, int(ys.max()) - y + 1]
        segment |= {"area": len(ys), "bbox": [x, y, *size]}
    rgb = np.stack([ids, np.zeros_like(ids), np.zeros_like(ids)], axis=-1)
    for number in range(2):
        Image.fromarray(rgb).save(root / "masks" / f"{number}.png")
    content = {
        "images": _image_records(),
        "annotations": [
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
            for number in range(2)
        ],
        "categories": [
            {"id": i, "name": f"class{i}", "isthing": int(i <= things), "color": [i, i, i]}
            for i in range(1, things + stuff + 1)
        ],
    }
    (root / "panoptic.json").write_text(json.dumps(content))


def _write_instances(root: Path, count: int) -> None:
    annotations = [
        {
            "id": 2 * image + number + 1,
            "image_id": image,
            "category_id": min(number + 1, count),
            "bbox": [x, y, width, height],
            "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
            "area": width * height,
            "iscrowd": 0,
        }
        for image in range(2)
        for number, (y, x, height, width) in enumerate(BOXES)
    ]
    categories = [{"id": i, "name": f"class{i}"} for i in range(1, count + 1)]
    content = {
        "images": _image_records(),
        "annotations": annotations,
        "categories": categories,
    }
    (root / "instances.json").write_text(json.dumps(content))
