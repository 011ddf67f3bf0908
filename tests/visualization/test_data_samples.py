"""Annotated images of the doctor's page: of every kind of data set, defects left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_projects.data.doctor import Finding
from seg_projects.data.label_maps import class_table
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.visualization.data_samples import annotated_samples

RED = [220, 20, 60]
CATEGORIES = [{"id": 5, "name": "cat", "color": RED, "isthing": 1}]
SIZE = (600, 800)  # as large as 315 x 420 on the page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three grey images and, in each form, a square in the first quarter of them."""
    ids = np.zeros(SIZE, np.int32)
    ids[:300, :400] = 300
    for name in "abc":
        Image.new("RGB", SIZE[::-1], (128, 128, 128)).save(tmp_path / f"{name}.png")
        Image.fromarray(rgb_from_ids(ids)).save(tmp_path / f"{name}_ids.png")
        Image.fromarray(np.where(ids, 0, 255).astype(np.uint8)).save(tmp_path / f"{name}_map.png")
    return tmp_path


def _content(kind: str, folder: Path) -> dict[str, Any]:
    images = [
        {"id": i, "file_name": f"{n}.png", "sem_seg_file_name": str(folder / f"{n}_map.png")}
        for i, n in enumerate("abc")
    ]
    square = [0, 0, 400, 0, 400, 300, 0, 300]
    rows: list[dict[str, Any]] = [
        {"image_id": i, "category_id": 5, "area": 120000, "segmentation": [square]}
        for i in range(3)
    ]
    categories = CATEGORIES
    if kind == "panoptic":
        segments = [{"id": 300, "category_id": 5}]
        rows = [
            {"image_id": i, "file_name": f"{n}_ids.png", "segments_info": segments}
            for i, n in enumerate("abc")
        ]
    elif kind == "label maps":
        categories = [{"id": 0, "name": "class 0", "color": RED}]
    return {"images": images, "annotations": rows, "categories": categories}


def _samples(kind: str, folder: Path, *findings: Finding, count: int = 8) -> list[Any]:
    table = class_table(1, value_map=None, ignore_label=255) if kind == "label maps" else None
    content = _content(kind, folder)
    if kind == "malformed":
        del content["annotations"][1]["category_id"]
    return annotated_samples(content, folder, folder, findings, label_table=table, count=count)


@pytest.mark.parametrize("kind", ["instances", "panoptic", "label maps"])
def test_annotations_are_painted_where_they_lie(folder: Path, kind: str) -> None:
    samples = _samples(kind, folder)
    assert [name for name, _ in samples] == ["a.png", "b.png", "c.png"]
    picture = samples[0][1].astype(int)
    assert picture.shape == (315, 420, 3)
    inside, outside = picture[20:40, 20:40].mean(axis=(0, 1)), picture[300, 400]
    assert inside[0] - inside[1] > 30  # red over grey
    assert abs(outside[0] - outside[1]) < 5


def test_images_with_errors_are_left_out_and_the_rest_is_spread(folder: Path) -> None:
    error = Finding("size mismatch", "b.png", "other", image="b.png")
    warning = Finding("wrong area", "annotation 1", "9", image="a.png")
    assert [n for n, _ in _samples("instances", folder, error, warning)] == ["a.png", "c.png"]
    assert [n for n, _ in _samples("instances", folder, count=2)] == ["a.png", "c.png"]


def test_a_malformed_annotation_costs_its_own_image_alone(folder: Path) -> None:
    assert [name for name, _ in _samples("malformed", folder)] == ["a.png", "c.png"]
