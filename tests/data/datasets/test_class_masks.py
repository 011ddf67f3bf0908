"""Data sets of a binary mask per class and image, declared in the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_class_masks
from seg_projects.data.datasets.class_masks import holds_class_masks
from seg_projects.data.doctor.quick import quick_findings, require_sound
from seg_projects.engine.setup import declare_datasets
from seg_projects.errors import UserError

NAME = "class_masks_set"
CLASSES = ["road", "lane mark"]


def _save(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((4, 6), np.uint8)
    mask[0, 0] = value
    Image.fromarray(mask).save(path)


@pytest.fixture(params=["by class", "by image"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Images a and b; the second has no file of the second class."""
    for name, label in (("a", "road"), ("a", "lane mark"), ("b", "road")):
        save_image(tmp_path / "images" / f"{name}.jpg", 6, 4)
        parts = (label, name) if request.param == "by class" else (name, label)
        _save(tmp_path / "masks" / parts[0] / f"{parts[1]}.png", 255)
    return tmp_path


def _config(root: Path, **entry: Any) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(root)
    given = {"NAME": NAME, "IMAGES": "images", "MASKS": "masks", "CLASSES": CLASSES}
    cfg.DATASETS.CLASS_MASKS = [given | entry]
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.MODEL.META_ARCHITECTURE = "SegSemanticSegmentor"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(CLASSES)
    cfg.MODEL.SEM_SEG_HEAD.LOSSES = [["sigmoid_dice", 1.0]]
    return cfg


def _load(root: Path, **entry: Any) -> list[dict[str, Any]]:
    declare_class_masks(_config(root, **entry))
    return DatasetCatalog.get(NAME)


def test_both_layouts_give_the_same_records(root: Path) -> None:
    first, second = _load(root)
    assert [record["image_id"] for record in (first, second)] == ["a", "b"]
    assert (first["height"], first["width"]) == (4, 6)
    assert all(Path(file).is_file() for file in first["class_mask_file_names"])
    assert second["class_mask_file_names"][1] is None
    assert MetadataCatalog.get(NAME).stuff_classes == CLASSES
    require_sound(NAME)


def test_stems_choose_images(root: Path) -> None:
    (root / "part.txt").write_text("a\n")
    assert [r["image_id"] for r in _load(root, STEMS="part.txt")] == ["a"]
    with pytest.raises(UserError, match=r"images has no file 'c' \("):
        _load(root, STEMS=["a", "c"])


def test_a_class_without_files_is_named(root: Path) -> None:
    with pytest.raises(UserError, match="no mask of the class 'rode' for these images"):
        _load(root, CLASSES=["road", "rode"])


def test_an_image_without_masks_is_named(root: Path) -> None:
    save_image(root / "images" / "c.png", 6, 4)
    with pytest.raises(
        UserError, match=r"mask of the image 'c', neither road/c\.png nor c/.*zeros"
    ):
        _load(root)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"CLASSES": "road"}, "CLASSES is 'road'; it is a list"),
        ({"CLASSES": ["a", "a"]}, "distinct names"),
        ({"IGNORE_LABEL": "x"}, "IGNORE_LABEL is a value in the file"),
        ({"IGNORE_LABEL": 0}, "IGNORE_LABEL is 0"),
        ({"MASKS": "nowhere"}, "nowhere is no folder"),
        ({"LABELS": "x"}, "unknown key 'LABELS'"),
    ],
)
def test_wrong_entries_are_named(root: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _load(root, **entry)


def test_the_kind_is_known_without_the_files(tmp_path: Path, root: Path) -> None:
    cfg = _config(tmp_path / "gone")
    assert holds_class_masks(cfg)
    cfg.DATASETS.TRAIN = ("another",)
    assert not holds_class_masks(cfg)
    # Registered by a module of one's own, and not declared.
    _load(root)
    cfg.DATASETS.CLASS_MASKS, cfg.DATASETS.TEST = [], (NAME,)
    assert holds_class_masks(cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.SEM_SEG_HEAD.LOSSES", [["cross_entropy", 1.0]], "cross_entropy, which gives each"),
        ("MODEL.SEM_SEG_HEAD.LOSSES", [["sigmoid_dice", 1.0], ["boundary", 1.0]], "has boundary"),
        ("MODEL.META_ARCHITECTURE", "SegPanopticFPN", "SegSemanticSegmentor does"),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 3, "has 2 stuff_classes"),
    ],
)
def test_a_model_that_does_not_fit_is_named(root: Path, key: str, value: Any, message: str) -> None:
    cfg = _config(root)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    declare_datasets(cfg)
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        declare_datasets(cfg)


def test_the_quick_check_finds_a_wrong_value_and_names_the_tool(root: Path) -> None:
    _load(root)
    file = next((root / "masks").rglob("*.png"))
    _save(file, 9)
    assert [f.kind for f in quick_findings(NAME)] == ["value in a class mask"]
    with pytest.raises(UserError, match=r"--class-masks .*masks --classes 'road,lane mark'`"):
        require_sound(NAME)
