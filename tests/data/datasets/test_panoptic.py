"""Declared panoptic data sets: registration, records, and what a wrong one says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects import add_seg_projects_config
from seg_projects.data import declare_panoptic_datasets
from seg_projects.errors import UserError

SCENE = (np.array([[1, 1, 300, 0]]), [(1, 8, 0), (300, 5, 0)])


def _config(root: Path, **entry: object) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(root)
    declared = {
        "NAME": "declared",
        "IMAGES": "images",
        "PANOPTIC_JSON": "panoptic.json",
        "PANOPTIC_MASKS": "masks",
    }
    cfg.DATASETS.PANOPTIC = [declared | entry]
    return cfg


def test_a_declared_data_set_gives_records_and_classes(tmp_path, write_panoptic):
    write_panoptic(tmp_path / "set", [SCENE])
    declare_panoptic_datasets(_config(tmp_path / "set"))
    (record,) = DatasetCatalog.get("declared")
    assert (record["image_id"], record["height"], record["width"]) == (0, 1, 4)
    assert [s["category_id"] for s in record["segments_info"]] == [8, 5]
    metadata = MetadataCatalog.get("declared")
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 8: 1}
    assert metadata.stuff_classes == ["things", "sky", "grass"]
    assert metadata.stuff_dataset_id_to_contiguous_id == {0: 0, 5: 1, 11: 2}


def test_declaring_twice_takes_the_latest(tmp_path, write_panoptic):
    write_panoptic(tmp_path / "set", [SCENE, SCENE])
    declare_panoptic_datasets(_config(tmp_path / "set"))
    declare_panoptic_datasets(_config(tmp_path / "set", IMAGE_IDS=[1]))
    assert [r["image_id"] for r in DatasetCatalog.get("declared")] == [1]


def test_the_root_comes_from_the_environment_where_the_config_names_none(
    tmp_path, write_panoptic, monkeypatch
):
    write_panoptic(tmp_path / "set", [SCENE])
    cfg = _config(tmp_path / "set")
    cfg.DATASETS.ROOT = ""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "set"))
    declare_panoptic_datasets(cfg)
    assert len(DatasetCatalog.get("declared")) == 1


def test_a_missing_root_names_the_path_and_the_ways_to_set_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/images does not exist.*DETECTRON2_DATASETS"):
        declare_panoptic_datasets(_config(tmp_path / "nowhere"))


def test_an_unknown_key_of_an_entry_is_named(tmp_path):
    with pytest.raises(UserError, match="unknown key 'IMAGE'"):
        declare_panoptic_datasets(_config(tmp_path, IMAGE="x"))


def test_an_image_id_that_is_not_in_the_file_is_named(tmp_path, write_panoptic):
    write_panoptic(tmp_path / "set", [SCENE])
    declare_panoptic_datasets(_config(tmp_path / "set", IMAGE_IDS=[7]))
    with pytest.raises(UserError, match="Image 7 is not annotated"):
        DatasetCatalog.get("declared")


def test_an_entry_without_a_needed_key_is_named(tmp_path):
    cfg = _config(tmp_path)
    del cfg.DATASETS.PANOPTIC[0]["IMAGES"]
    with pytest.raises(UserError, match=r"'declared' lacks \['IMAGES'\]"):
        declare_panoptic_datasets(cfg)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"images": []}', "it has no 'annotations'"),
        ("3", "it has no 'images'"),
        ('{"images": [], "annotations": {"a": 1}}', "annotations is {'a': 1}, not a list"),
        ('{"images": [], "annotations": [3], "categories": []}', "has no 'segments_info'"),
        ('{"images": [], "annotations": [{"bbox": 1}], "categories": []}', "instances file"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no categories"),
    ],
)
def test_a_json_of_another_kind_is_named(tmp_path, write_panoptic, content, message):
    write_panoptic(tmp_path / "set", [SCENE]).write_text(content)
    with pytest.raises(UserError, match=message):
        declare_panoptic_datasets(_config(tmp_path / "set"))


def test_a_category_that_the_file_does_not_list_is_named(tmp_path, write_panoptic):
    path = write_panoptic(tmp_path / "set", [SCENE])
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["category_id"] = 99
    path.write_text(json.dumps(content))
    declare_panoptic_datasets(_config(tmp_path / "set"))
    with pytest.raises(UserError, match="segment 1 of image 0 has category 99"):
        DatasetCatalog.get("declared")


def test_real_coco_panoptic_loads_with_its_133_categories(shared_data):
    cfg = _config(
        shared_data / "coco_panoptic",
        IMAGES="val2017",
        PANOPTIC_JSON="annotations/panoptic_val2017.json",
        PANOPTIC_MASKS="annotations/panoptic_val2017",
    )
    declare_panoptic_datasets(cfg)
    records = DatasetCatalog.get("declared")
    metadata = MetadataCatalog.get("declared")
    assert (len(records), sum(len(r["segments_info"]) for r in records)) == (12, 221)
    assert (len(metadata.thing_classes), len(metadata.stuff_classes)) == (80, 54)
