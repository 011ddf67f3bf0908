"""``INPUT`` of a config becomes augmentations; mistakes in it are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from seg_projects.config import add_seg_projects_config
from seg_projects.data.augmentation import (
    AUGMENTATIONS,
    CopyPaste,
    build_augmentations,
    has_copy_paste,
    split_steps,
)
from seg_projects.data.augmentation.geometry import ShortestEdge
from seg_projects.errors import UserError

SMALLEST: dict[str, dict[str, Any]] = {
    "resize": {"short_side": [10, 20], "max_size": 40},
    "large_scale_jitter": {"size": [10, 20]},
    "crop": {"size": [10, 20]},
    "rotation": {"angle": 10},
    "noise": {"sigma": 3},
    "blur": {"sigma": 1},
    "albumentations": {"transforms": [["HorizontalFlip"]]},
}


def _cfg(*entries: Any) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.INPUT.AUGMENTATIONS = list(entries)
    return cfg


def _names(steps: list[Any]) -> list[str]:
    return [type(step).__name__ for step in steps]


def test_detectron2s_keys_keep_their_order_and_meaning():
    cfg = _cfg()
    cfg.INPUT.CROP.ENABLED = True
    assert _names(build_augmentations(cfg, True)) == ["RandomCrop", "ShortestEdge", "RandomFlip"]
    steps = build_augmentations(cfg, True, crop_after_resize=True)
    assert _names(steps) == ["ShortestEdge", "RandomCrop", "RandomFlip"]
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.5
    names = _names(build_augmentations(cfg, True))
    assert names == ["RandomCrop_CategoryAreaConstraint", "ShortestEdge"]


def test_at_test_time_the_image_is_only_resized():
    steps = build_augmentations(_cfg(["grey"]), False)
    assert _names(steps) == ["ShortestEdge"]
    assert steps[0].short_edge_length == (800, 800)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_name_builds_and_runs(name):
    if name == "albumentations":
        pytest.importorskip("albumentations", reason="the extra `augment` is not installed")
    cfg = _cfg([name, SMALLEST.get(name, {})])
    step = build_augmentations(cfg, True)[-1]
    if name != "copy_paste":
        inputs = T.AugInput(np.zeros((30, 30, 3), np.uint8), sem_seg=np.zeros((30, 30), np.uint8))
        step(inputs)
        assert inputs.image.shape[:2] == inputs.sem_seg.shape


def test_entries_follow_in_their_order():
    cfg = _cfg(["rotation", {"angle": 5, "probability": 0.5}], "grey")
    assert _names(build_augmentations(cfg, True))[2:] == ["RandomApply", "RandomGrey"]


@pytest.mark.parametrize("name", ["resize", "large_scale_jitter"])
def test_an_entry_that_sets_the_size_replaces_the_resize(name):
    steps = build_augmentations(_cfg([name, SMALLEST[name]]), True)
    assert sum(isinstance(step, ShortestEdge) for step in steps) == (name == "resize")


def test_the_fill_is_the_mean_pixel_of_the_config():
    cfg = _cfg(["rotation", {"angle": 5}], ["cutout", {"fill": [1, 2, 3]}])
    rotation, cutout = build_augmentations(cfg, True)[-2:]
    assert rotation.fill == tuple(cfg.MODEL.PIXEL_MEAN)
    assert cutout.fill == (1, 2, 3)


def test_steps_are_split_at_copy_paste():
    cfg = _cfg(["flip", {"vertical": 1.0}], ["copy_paste", {"share": [0.5, 1]}], "grey")
    assert has_copy_paste(cfg)
    pipeline = split_steps(build_augmentations(cfg, True))
    assert isinstance(pipeline.copy_paste, CopyPaste)
    assert [len(pipeline.each.augs), len(pipeline.merged.augs)] == [3, 1]


def test_a_crop_by_category_says_that_it_needs_labels():
    crop = ["crop", {"size": [10, 10], "single_category_max_area": 0.5, "probability": 0.5}]
    assert split_steps(build_augmentations(_cfg(crop), True)).needs_labels
    assert not split_steps(build_augmentations(_cfg("grey"), True)).needs_labels


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["rotate"], "'rotate', which is unknown; known: resize, .* rotation"),
        ({"grey": {}}, r"an entry is \[name\] or"),
        (["rotation", {"degrees": 3}], "it knows angle, expand, probability"),
        (["rotation"], "rotation refuses .*angle"),
        (["rotation", {"angle": [5, 1]}], r"angle is \[5, 1\]; it is \[least, greatest\]"),
        (["rotation", {"angle": "10"}], "angle is '10'"),
        (["noise", {"sigma": -1}], "none below 0"),
        (["flip", {"vertical": 2}], r"vertical is 2; a probability is in \[0, 1\]"),
        (["grey", {"probability": 2}], "probability is 2"),
        (["copy_paste", {"share": 2}], "share is 2"),
        (["large_scale_jitter", {"size": [5]}], r"size is \[5\]; it is \[height, width\]"),
        (["crop", {"size": [5, 5], "type": "square"}], "type is 'square'"),
        (["resize", {"short_side": [5], "max_size": 9, "sampling": "all"}], "sampling is 'all'"),
    ],
)
def test_a_wrong_entry_is_named_with_the_remedy(entry, message):
    with pytest.raises(UserError, match=r"INPUT\.AUGMENTATIONS.*" + message):
        build_augmentations(_cfg(entry), True)


def test_two_copy_pastes_are_refused():
    with pytest.raises(UserError, match="copy_paste 2 times"):
        split_steps(build_augmentations(_cfg("copy_paste", "copy_paste"), True))
