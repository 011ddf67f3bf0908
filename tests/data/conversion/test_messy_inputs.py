"""Damaged annotations: what cannot be used is named, and there is never a stack trace."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import save_image
from tiny_runs import tool_main

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.errors import UserError

DELETED = object()
VALUES: list[Any] = [
    *(DELETED, None, 3, -5, 1e30, float("nan"), "x", [], {}, [None], {"a": None}, True),
]
SQUARE = [[1.0, 1.0], [5.0, 1.0], [5.0, 5.0], [1.0, 5.0]]
IMAGE = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}
CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}]
FILES: dict[str, Any] = {
    "via": {
        "a": {
            "filename": "a.png",
            "regions": [
                {
                    "shape_attributes": {
                        "name": "polygon",
                        "all_points_x": [1, 5, 5],
                        "all_points_y": [1, 1, 5],
                    },
                    "region_attributes": {"class": "cat"},
                },
                {
                    "shape_attributes": {
                        "name": "ellipse",
                        "cx": 3,
                        "cy": 3,
                        "rx": 2,
                        "ry": 1,
                        "theta": 0.5,
                    },
                    "region_attributes": {"class": "cat"},
                },
            ],
        }
    },
    "via 3": {
        "attribute": {"1": {"aname": "class", "type": 4, "options": {"0": "cat"}}},
        "file": {"1": {"fname": "a.png", "type": 2, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            "1_a": {"vid": "1", "z": [], "xy": [7, 1, 1, 5, 1, 5, 5], "av": {"1": "0"}},
            "1_b": {"vid": "1", "z": [], "xy": [9, 1, 3, 3, 1, 5, 3], "av": {"1": "0"}},
        },
    },
    "labelme": {
        "imagePath": "a.png",
        "imageHeight": 8,
        "imageWidth": 8,
        "shapes": [
            {"label": "cat", "points": SQUARE, "shape_type": "polygon", "group_id": 1},
            {"label": "cat", "points": SQUARE[:2], "shape_type": "circle"},
            {"label": "cat", "points": SQUARE[:2], "shape_type": "linestrip"},
        ],
    },
    "coco-instances": {
        "images": [IMAGE],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "area": 9,
                "bbox": [1, 1, 4, 4],
                "segmentation": [[1, 1, 5, 1, 5, 5]],
            },
            {
                "id": 2,
                "image_id": 1,
                "category_id": 1,
                "area": 9,
                "bbox": [1, 1, 4, 4],
                "segmentation": {"size": [8, 8], "counts": [10, 4, 50]},
            },
        ],
        "categories": CATEGORIES,
    },
    "coco-panoptic": {
        "images": [IMAGE],
        "annotations": [
            {
                "image_id": 1,
                "file_name": "a.png",
                "segments_info": [{"id": 7, "category_id": 1, "iscrowd": 0}],
            }
        ],
        "categories": CATEGORIES,
    },
    "labelbox": [
        {
            "data_row": {"external_id": "a.png"},
            "media_attributes": {"height": 8, "width": 8},
            "projects": {
                "p": {
                    "labels": [
                        {
                            "annotations": {
                                "objects": [
                                    {
                                        "name": "cat",
                                        "polygon": [{"x": x, "y": y} for x, y in SQUARE],
                                    },
                                    {
                                        "name": "cat",
                                        "bounding_box": {
                                            "left": 1,
                                            "top": 1,
                                            "width": 2,
                                            "height": 2,
                                        },
                                    },
                                ]
                            }
                        }
                    ]
                }
            },
        }
    ],
}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything inside a JSON value."""
    keys = {dict: list, list: lambda items: range(len(items))}.get(type(value), lambda _: ())
    for key in keys(value):
        yield (*path, key)
        yield from _paths(value[key], (*path, key))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_image(tmp_path / "a.png", 8, 8)
    ids = np.zeros((8, 8), np.int32)
    ids[1:4, 1:4] = 7
    write_png(tmp_path / "set_masks" / "a.png", rgb_from_ids(ids))
    return tmp_path


@pytest.mark.parametrize("tool", FILES)
def test_sound_file_has_all_objects(folder: Path, tool: str) -> None:
    assert _read(tool, folder, FILES[tool])


@pytest.mark.parametrize("tool", FILES)
def test_any_damage_is_a_note_or_one_message(folder: Path, tool: str) -> None:
    rng = random.Random(0)
    paths = list(_paths(FILES[tool]))
    for path in paths:
        for value in rng.sample(VALUES, 6):
            content = copy.deepcopy(FILES[tool])
            place = content
            for key in path[:-1]:
                place = place[key]
            if value is DELETED:
                del place[path[-1]]
            else:
                place[path[-1]] = value
            _read(tool, folder, content)


def _read(tool: str, folder: Path, content: Any) -> int:
    """Number of objects that could be used; anything but a UserError passes through."""
    file = folder / "set.json"
    file.write_text(json.dumps(content))
    log = ConversionLog()
    try:
        images = list(READERS[tool.split()[0]](file, ReaderOptions(images=folder), log))
    except UserError:
        return 0
    return sum(len(image.objects) for image in images)


@pytest.mark.parametrize("tool", READERS)
@pytest.mark.parametrize("text", ["", "[]", "null", "[1]", '{"a": 1}', '{"images": 1}'])
def test_other_files_are_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], tool: str, text: str
) -> None:
    (folder / "set.json").write_text(text)
    arguments = [tool, str(folder / "set.json"), "--output", str(folder / "out"), "--things", "*"]
    assert tool_main("convert")(arguments) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"\xff 0 0 1 0 1 1", "unusable shape"),
        (b"nan 0 0 1 0 1 1", "unusable shape"),
        (b"inf 0 0 1 0 1 1", "unusable shape"),
        (b"0 1e30 0 1 0 1 1", "unusable shape"),
        (b"0 0.5 0.5 1 1", "unusable shape"),
        (b"9 0 0 1 0 1 1", "class without name"),
    ],
)
def test_odd_lines_of_yolo_are_named(folder: Path, line: bytes, kind: str) -> None:
    (folder / "a.txt").write_bytes(line)
    (folder / "data.yaml").write_text("names: [cat]")
    log = ConversionLog()
    list(READERS["yolo"](folder, ReaderOptions(), log))
    assert list(log.entries) == [kind]
