"""Data sets of object masks, from folders to records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_instance_masks
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.errors import UserError


def _config(root: Path, **entry: str) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(root)
    cfg.DATASETS.INSTANCE_MASKS = [{"NAME": "cells", "CLASS": "cell", **entry}]
    return cfg


def test_numbered_maps_give_an_annotation_per_number(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.png", 3, 2)
    write_png(tmp_path / "masks" / "a.png", np.array([[0, 300, 300], [2, 0, 0]], np.uint16))
    declare_instance_masks(_config(tmp_path, MASKS="masks", IMAGES="images"))
    (record,) = DatasetCatalog.get("cells")
    assert [a["bbox"] for a in record["annotations"]] == [[0, 1, 1, 1], [1, 0, 2, 1]]
    assert MetadataCatalog.get("cells").thing_classes == ["cell"]


def test_one_file_per_object(tmp_path: Path) -> None:
    save_image(tmp_path / "one" / "images" / "one.png", 2, 1)
    for number, values in enumerate(([255, 0], [0, 255])):
        write_png(tmp_path / "one" / "masks" / f"{number}.png", np.array([values], np.uint8))
    declare_instance_masks(_config(tmp_path, MASKS="."))
    (record,) = DatasetCatalog.get("cells")
    assert [a["area"] for a in record["annotations"]] == [1, 1]
    assert record["file_name"].endswith("one/images/one.png")


def test_nuclei_train_with_detectron2s_mapper(shared_data: Path) -> None:
    from detectron2.data import DatasetMapper

    cfg = _config(shared_data, MASKS="dsb2018_nuclei/stage1_train")
    declare_instance_masks(cfg)
    records = DatasetCatalog.get("cells")
    assert sum(len(record["annotations"]) for record in records) == 2173
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.MODEL.MASK_ON = True
    smallest = min(records, key=lambda record: len(record["annotations"]))
    assert len(DatasetMapper(cfg, is_train=True)(smallest)["instances"]) == 7


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"MASKS": "absent"}, "absent is no folder"),
        ({"MASKS": ".", "IMAGE": "x"}, "unknown key 'IMAGE'"),
        ({}, r"lacks \['MASKS'\]"),
    ],
)
def test_wrong_declarations_are_named(tmp_path: Path, entry: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        declare_instance_masks(_config(tmp_path, **entry))


def test_folder_without_usable_image_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "one" / "masks").mkdir(parents=True)
    declare_instance_masks(_config(tmp_path, MASKS="."))
    with pytest.raises(UserError, match="no image could be used"):
        DatasetCatalog.get("cells")
