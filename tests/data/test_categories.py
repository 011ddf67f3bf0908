"""Categories outside the model: from the metadata, to a file and back, and of segments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detectron2.data import Metadata, MetadataCatalog
from seg_projects.data import register_panoptic
from seg_projects.data.categories import OutputCategories, output_categories
from seg_projects.errors import UserError

CATEGORIES = OutputCategories(
    records=[
        {"id": 3, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
        {"id": 5, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
        {"id": 8, "name": "dog", "isthing": 1, "color": [7, 8, 9]},
    ],
    thing_ids={3: 0, 8: 1},
    stuff_ids={0: 0, 5: 1},
)


def test_file_gives_back_what_was_written(tmp_path: Path) -> None:
    CATEGORIES.write(tmp_path / "categories.json")
    assert OutputCategories.read(tmp_path / "categories.json") == CATEGORIES


def test_data_set_gives_its_categories_in_the_order_of_ids(
    tmp_path: Path, write_panoptic: Callable[..., Path]
) -> None:
    panoptic_json = write_panoptic(tmp_path / "set", [(np.zeros((2, 2), np.int32), [])])
    register_panoptic(
        "test_categories_set",
        image_root=tmp_path / "set" / "images",
        panoptic_json=panoptic_json,
        panoptic_root=tmp_path / "set" / "masks",
    )
    categories = OutputCategories.from_metadata(MetadataCatalog.get("test_categories_set"))
    assert categories.records == json.loads(panoptic_json.read_text())["categories"]
    assert categories.thing_ids == {3: 0, 8: 1}
    assert categories.stuff_ids == {0: 0, 5: 1, 11: 2}


def test_coco_separated_gives_133_categories() -> None:
    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    categories = OutputCategories.from_metadata(metadata)
    ids = [record["id"] for record in categories.records]
    assert len(ids) == len(set(ids)) == 133
    assert sum(record["isthing"] for record in categories.records) == 80
    assert categories.records[0]["name"] == "person"
    assert categories.records[-1] == {
        "id": 200,
        "name": "rug",
        "isthing": 0,
        "color": list(metadata.stuff_colors[53]),
    }


def test_segments_get_category_ids_by_their_kind() -> None:
    segments = [
        {"id": 1, "isthing": True, "category_id": 1},
        {"id": 2, "isthing": False, "category_id": 1},
        {"id": 3, "isthing": True, "category_id": 0},
    ]
    assert CATEGORIES.category_ids(segments) == [8, 5, 3]
    assert CATEGORIES.category_ids([]) == []


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", "{}", '{"categories": [], "thing_ids": {"a": 0}}', "3"]
)
def test_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "categories.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"categories\.json is no file of categories"):
        OutputCategories.read(path)


def test_classes_of_label_maps_are_their_own_ids() -> None:
    metadata = Metadata(name="maps", stuff_classes=["sky", "road"], stuff_colors=[[1, 2, 3]] * 2)
    categories = output_categories(metadata)
    assert [(r["id"], r["name"], r["isthing"]) for r in categories.records] == [
        (0, "sky", 0),
        (1, "road", 0),
    ]
    assert (categories.thing_ids, categories.stuff_ids) == ({}, {0: 0, 1: 1})


def test_instances_have_the_ids_of_their_file_or_from_1() -> None:
    metadata = Metadata(name="things", thing_classes=["fig", "nut"])
    assert output_categories(metadata).thing_ids == {1: 0, 2: 1}
    metadata.thing_dataset_id_to_contiguous_id = {5: 0, 9: 1}
    categories = output_categories(metadata)
    assert [r["id"] for r in categories.records] == [5, 9]
    assert categories.stuff_ids == {}


def test_a_data_set_without_classes_is_named() -> None:
    with pytest.raises(UserError, match="'bare' has neither thing_classes nor stuff_classes"):
        output_categories(Metadata(name="bare"))
