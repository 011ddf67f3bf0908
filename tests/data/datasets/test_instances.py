"""Data sets in the COCO instances format, declared in the config alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_instance_datasets
from seg_projects.errors import UserError

NAME = "declared_instances"
CONTENT: dict[str, Any] = {
    "images": [{"id": i, "file_name": f"{i}.png", "height": 4, "width": 5} for i in (0, 7, 9)],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 5,
            "iscrowd": 0,
            "area": 4,
            "bbox": [1, 1, 2, 2],
            "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]],
        }
    ],
    "categories": [{"id": 5, "name": "nut"}, {"id": 3, "name": "fig"}],
}


def _declare(root: Path, **entry: Any) -> None:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(root)
    declared = {"NAME": NAME, "IMAGES": ".", "INSTANCES_JSON": "all.json", **entry}
    cfg.DATASETS.INSTANCES = [{k: v for k, v in declared.items() if v is not None}]
    declare_instance_datasets(cfg)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "all.json").write_text(json.dumps(CONTENT))
    return tmp_path


def test_classes_follow_the_category_ids_before_any_image_is_read(root: Path) -> None:
    _declare(root)
    metadata = MetadataCatalog.get(NAME)
    assert metadata.thing_classes == ["fig", "nut"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 5: 1}


def test_records_have_contiguous_classes_and_images_without_objects(root: Path) -> None:
    _declare(root)
    records = DatasetCatalog.get(NAME)
    assert [r["image_id"] for r in records] == [0, 7, 9]
    assert [len(r["annotations"]) for r in records] == [0, 1, 0]
    assert records[1]["annotations"][0]["category_id"] == 1


def test_image_ids_choose_images(root: Path) -> None:
    _declare(root, IMAGE_IDS=[0, 9])
    assert [r["image_id"] for r in DatasetCatalog.get(NAME)] == [0, 9]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"INSTANCES_JSON": None}, r"lacks \['INSTANCES_JSON'\]"),
        ({"JSON": "a.json"}, "unknown key 'JSON'"),
        ({"IMAGE_IDS": [0, 8]}, "has no image 8"),
        ({"IMAGE_IDS": 9}, "IMAGE_IDS is no list"),
        ({"IMAGES": "elsewhere"}, "elsewhere does not exist"),
    ],
)
def test_a_wrong_entry_is_named(root: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _declare(root, **entry)


def test_a_file_of_another_format_is_named(root: Path) -> None:
    (root / "all.json").write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(UserError, match="is not a COCO instances file"):
        _declare(root)
