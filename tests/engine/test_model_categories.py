"""Where the classes of a trained model come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from seg_projects.config import add_seg_projects_config
from seg_projects.engine.model_categories import check_num_classes, model_categories
from seg_projects.errors import UserError


def _config(output: Path, *tested: str) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(output), tested
    return cfg


def test_classes_that_come_with_the_records_are_read(tmp_path: Path) -> None:
    content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "square"}]}
    (tmp_path / "all.json").write_text(json.dumps(content))
    name = "registered_by_hand"
    register_coco_instances(name, {}, str(tmp_path / "all.json"), str(tmp_path))
    try:
        categories = model_categories(_config(tmp_path, name))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert categories.thing_ids == {7: 0}
    assert [record["name"] for record in categories.records] == ["square"]


@pytest.mark.parametrize("tested", [(), ("unregistered",)])
def test_classes_that_nothing_names_are_a_mistake(tested: tuple[str, ...], tmp_path: Path) -> None:
    message = rf"neither .*categories\.json nor a data set \[{', '.join(map(repr, tested))}\] names"
    with pytest.raises(UserError, match=message):
        model_categories(_config(tmp_path, *tested))


def test_each_group_has_as_many_classes_as_are_listed(tmp_path: Path) -> None:
    cfg = _config(tmp_path)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2, 3
    check_num_classes(cfg, {"ROI_HEADS": 2, "SEM_SEG_HEAD": 3})
    with pytest.raises(UserError, match=r"SEM_SEG_HEAD\.NUM_CLASSES is 3, but .* are 4"):
        check_num_classes(cfg, {"ROI_HEADS": 2, "SEM_SEG_HEAD": 4})
