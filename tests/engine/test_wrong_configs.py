"""Four mistakes in each meta-architecture and with each family of heads, named with numbers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tiny_configs import build_or_skip, shrink, use_generated_data
from tiny_runs import REPOSITORY

from detectron2.config import CfgNode
from seg_projects.engine import load_config
from seg_projects.engine.setup import declare_datasets
from seg_projects.errors import UserError

# Per config: the coarsest stride of its backbone's maps, and that map's name.
SEMANTIC = {
    "voc/fcn": (32, "res5"),
    "membrane/unet": (16, "down4"),
    "membrane/attention_unet": (16, "down4"),
    "camvid/unet_mobilenetv3": (32, "res5"),
    "pets/xception_unet": (16, "down4"),
    "voc/deeplabv3plus": (16, "res5"),
    "cityscapes/deeplabv3_r103": (16, "res5"),
    "voc/icnet": (32, "low"),
    "camvid/setr_pup_vit_tiny": (16, "block5"),
    "cityscapes/setr_naive_vit_large": (16, "block4"),
    "cityscapes/setr_mla_vit_large": (16, "block2"),
}
PANOPTIC = {
    "overfit/panoptic_fpn_coco": (64, "p6"),
    "own/panoptic_fpn_cascade": (64, "p6"),
    "overfit/panoptic_deeplab_coco": (32, "res5"),
}
DETECTORS = {"own/mask_rcnn": (64, "p6"), "own/cascade_mask_rcnn": (64, "p6")}
ALL = SEMANTIC | PANOPTIC | DETECTORS


def _message(config: str, root: Path, change: dict[str, Any]) -> str:
    """What is said of the config, made tiny, with ``change`` before the first iteration."""
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    use_generated_data(cfg, root / f"{config.replace('/', '_')}_{len(change)}")
    cfg.merge_from_list([part for item in change.items() for part in item])
    with pytest.raises(UserError) as caught:
        _prepare_and_build(cfg)
    return str(caught.value)


def _prepare_and_build(cfg: CfgNode) -> None:
    declare_datasets(cfg)
    build_or_skip(cfg)


@pytest.mark.parametrize("config", ALL)
def test_map_that_the_backbone_does_not_give(config: str, tmp_path: Path) -> None:
    node = "RPN" if config in DETECTORS else "SEM_SEG_HEAD"
    names = _names(config, node)
    message = _message(config, tmp_path, {f"MODEL.{node}.IN_FEATURES": [*names[:-1], "res9"]})
    assert f"MODEL.{node}.IN_FEATURES has 'res9'" in message
    coarsest, map_name = ALL[config]
    assert "the backbone gives " in message
    assert f"{map_name} (stride {coarsest})" in message


def _names(config: str, node: str) -> list[str]:
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    return list(cfg.MODEL[node].IN_FEATURES)


@pytest.mark.parametrize("config", ALL)
def test_class_count_of_another_data_set(config: str, tmp_path: Path) -> None:
    node = "ROI_HEADS" if config in DETECTORS else "SEM_SEG_HEAD"
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    right = cfg.MODEL[node].NUM_CLASSES
    message = _message(config, tmp_path, {f"MODEL.{node}.NUM_CLASSES": right + 2})
    assert f"MODEL.{node}.NUM_CLASSES is {right + 2}, but data set 'generated_" in message
    assert f"set MODEL.{node}.NUM_CLASSES to {right}" in message


SMALL: list[tuple[str, Any]] = [
    ("INPUT.MIN_SIZE_TRAIN", (3,)),
    ("INPUT.MIN_SIZE_TEST", 3),
    ("INPUT.AUGMENTATIONS", [["crop", {"size": [64, 3]}]]),
    ("INPUT.AUGMENTATIONS", [["resize", {"short_side": [64, 3], "max_size": 64}]]),
    ("INPUT.AUGMENTATIONS", [["large_scale_jitter", {"size": [3, 64]}]]),
]


@pytest.mark.parametrize("config", ALL)
def test_images_smaller_than_the_stride(config: str, tmp_path: Path) -> None:
    stride, name = ALL[config]
    # Each way to give a size, with one config each.
    key, value = SMALL[sorted(ALL).index(config) % len(SMALL)]
    message = _message(config, tmp_path, {key: value})
    if "panoptic_deeplab" in config and "MIN_SIZE" in key:
        assert f"{key} is 3, less than the stride {stride} of the backbone" in message
    else:
        wanted = f"{key} has 3 pixels, smaller than {stride}, the stride of the backbone's map "
        assert message.startswith(f"{wanted}{name}")


@pytest.mark.parametrize("config", SEMANTIC)
def test_window_that_its_overlap_does_not_let_move(config: str, tmp_path: Path) -> None:
    change = {"MODEL.SLIDING_WINDOW.SIZE": [64, 80], "MODEL.SLIDING_WINDOW.OVERLAP": 0.99}
    message = _message(config, tmp_path, change)
    assert message.startswith("MODEL.SLIDING_WINDOW.OVERLAP 0.99 of a window of 64 pixels")
    assert message.endswith("take an overlap of at most 0.984.")


@pytest.mark.parametrize("config", SEMANTIC)
def test_window_smaller_than_the_stride(config: str, tmp_path: Path) -> None:
    message = _message(config, tmp_path, {"MODEL.SLIDING_WINDOW.SIZE": [64, 8]})
    assert f"SIZE is [64, 8], smaller than {SEMANTIC[config][0]}," in message


@pytest.mark.parametrize("config", PANOPTIC | DETECTORS)
def test_window_of_a_model_that_has_none(config: str, tmp_path: Path) -> None:
    message = _message(config, tmp_path, {"MODEL.SLIDING_WINDOW.SIZE": [64, 64]})
    assert "SIZE is [64, 64], but MODEL.META_ARCHITECTURE" in message


@pytest.mark.parametrize("config", PANOPTIC)
def test_augmentation_at_test_time_of_a_model_that_has_none(config: str, tmp_path: Path) -> None:
    message = _message(config, tmp_path, {"TEST.AUG.ENABLED": True})
    assert message.startswith("TEST.AUG.ENABLED is True, but MODEL.META_ARCHITECTURE Seg")


@pytest.mark.parametrize(
    ("key", "layer"),
    [("MODEL.UNET.NORM", "backbone.levels.0"), ("MODEL.SEM_SEG_HEAD.NORM", "sem_seg_head.steps.0")],
)
def test_synchronised_norms_of_several_processes_on_the_cpu(
    key: str, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    message = _message("membrane/unet", tmp_path, {key: "SyncBN"})
    assert f"SyncBN layers ({layer}" in message
    assert "where 2 processes train: set their NORM to naiveSyncBN, BN or GN" in message


def _warnings(config: str, change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> list[str]:
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    cfg.merge_from_list([part for item in change.items() for part in item])
    log = "seg_projects.engine.model_checks"
    with caplog.at_level(logging.WARNING, log):
        build_or_skip(cfg)
    return [record.getMessage() for record in caplog.records if record.name == log]


@pytest.mark.parametrize(
    ("config", "frozen"),
    [
        ("membrane/unet", "4 of 22 parameters of the backbone (levels.0.0.weight, ...)"),
        ("pets/xception_unet", "(levels.0.weight, ...)"),
        ("voc/fcn", "(stem.conv1.weight, ...)"),
        ("own/mask_rcnn", "(bottom_up.stem.conv1.weight, ...)"),
        ("camvid/unet_mobilenetv3", "(model.conv_stem.weight, ...)"),
    ],
)
def test_random_parts_that_are_frozen_are_warned_of(
    config: str, frozen: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = _warnings(config, {"MODEL.BACKBONE.FREEZE_AT": 2}, caplog)
    assert message.startswith("MODEL.WEIGHTS is empty and MODEL.BACKBONE.FREEZE_AT is 2: ")
    assert frozen in message
    assert "Set MODEL.BACKBONE.FREEZE_AT to 0, or name weights" in message


@pytest.mark.parametrize("change", [{}, {"MODEL.WEIGHTS": "w.pth", "MODEL.BACKBONE.FREEZE_AT": 2}])
def test_what_learns_or_has_weights_is_not_warned_of(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert not _warnings("voc/fcn", change, caplog)


@pytest.mark.parametrize(
    ("config", "key"),
    [("voc/fcn", "MODEL.RESNETS.NORM"), ("camvid/unet_mobilenetv3", "MODEL.TIMM.NORM")],
)
def test_frozen_norms_without_statistics_are_warned_of(
    config: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    (message,) = _warnings(config, {key: "FrozenBN", "MODEL.BACKBONE.FREEZE_AT": 0}, caplog)
    assert "FrozenBN layers" in message
    assert "Set NORM of the backbone to BN, SyncBN or GN, or name weights" in message


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs").rglob("[!b]*.yaml")), ids=lambda path: path.stem
)
def test_configs_from_scratch_freeze_nothing(path: Path) -> None:
    cfg = load_config(path)
    if not cfg.MODEL.WEIGHTS:
        assert cfg.MODEL.BACKBONE.FREEZE_AT == 0
        if "resnet" in cfg.MODEL.BACKBONE.NAME:
            assert cfg.MODEL.RESNETS.NORM != "FrozenBN"
