"""PASCAL VOC's annotation format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import load_voc_instances, register_pascal_voc
from detectron2.structures import BoxMode

NAME = "voc_format_test"
SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"
DOG = (
    "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4.5</ymin>"
    "<xmax>10</xmax><ymax>12</ymax></bndbox></object>"
)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Image 1 shows a dog, image 2 nothing."""
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("000001\n000002\n")
    (tmp_path / "Annotations/000001.xml").write_text(f"<annotation>{SIZE}{DOG}</annotation>")
    (tmp_path / "Annotations/000002.xml").write_text(f"<annotation>{SIZE}</annotation>")
    return tmp_path


def test_boxes_become_continuous(voc: Path) -> None:
    first, second = load_voc_instances(str(voc), "train", ("cat", "dog"))
    assert first == {
        "file_name": str(voc / "JPEGImages" / "000001.jpg"),
        "image_id": "000001",
        "height": 20,
        "width": 30,
        "annotations": [
            {"category_id": 1, "bbox": [2.0, 3.5, 10.0, 12.0], "bbox_mode": BoxMode.XYXY_ABS}
        ],
    }
    assert second["annotations"] == []


def test_registration_sets_metadata(voc: Path) -> None:
    register_pascal_voc(NAME, str(voc), "train", 2012, ["cat", "dog"])
    assert len(DatasetCatalog.get(NAME)) == 2
    assert MetadataCatalog.get(NAME).as_dict() == {
        "name": NAME,
        "thing_classes": ["cat", "dog"],
        "dirname": str(voc),
        "year": 2012,
        "split": "train",
    }


def test_unknown_class_is_named(voc: Path) -> None:
    with pytest.raises(ValueError, match=r"000001\.xml has an object of class 'dog'"):
        load_voc_instances(str(voc), "train", ("cat",))


def test_missing_split_is_named(voc: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val\.txt does not exist"):
        load_voc_instances(str(voc), "val", ("dog",))


def test_incomplete_annotation_is_named(voc: Path) -> None:
    (voc / "Annotations/000002.xml").write_text("<annotation></annotation>")
    with pytest.raises(ValueError, match=r"000002\.xml has no <size><height>"):
        load_voc_instances(str(voc), "train", ("dog",))
