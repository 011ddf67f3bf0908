"""What ``--fix`` sets, what it leaves, and that the file itself stays."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WritePanoptic
from tiny_runs import tool_main

from seg_projects.data.doctor import corrected, inspect_data

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
IDS = np.zeros((10, 12), dtype=np.int32)
IDS[2:6, 2:6], IDS[8:] = 300, 7


def _instances(**wrong: Any) -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 16}
    annotation |= {"bbox": [2, 2, 4, 4], "segmentation": [list(SQUARE)]}
    images = [{"id": 5, "file_name": "a.jpg", "height": 10, "width": 12}]
    categories = [{"id": 1, "name": "cat"}]
    return {"images": images, "annotations": [annotation | wrong], "categories": categories}


@pytest.mark.parametrize(
    "wrong",
    [
        {"area": 90},
        {"area": None},
        {"bbox": [7, 2, 4, 4]},
        {"bbox": [2, 2, 0, 4], "area": 90},
        {"bbox": [2, 2, 40, 4]},
        {"bbox": None},
    ],
)
def test_box_and_area_follow_the_mask(tmp_path: Path, wrong: dict[str, Any]) -> None:
    content = _instances(**wrong)
    before = copy.deepcopy(content)
    fixed, changed = corrected(content, tmp_path)
    assert content == before
    assert fixed == _instances()
    assert set(changed) == set(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"category_id": 9},
        {"segmentation": [[1, 1, 5, 5]], "bbox": [0, 0, 0, 0]},
        {"segmentation": None},
        {"image_id": 6, "area": 90},
        {"area": 17},
    ],
)
def test_what_needs_a_choice_stays(tmp_path: Path, wrong: dict[str, Any]) -> None:
    fixed, changed = corrected(_instances(**wrong), tmp_path)
    assert fixed == _instances(**wrong)
    assert not changed


def test_segments_follow_pixels_and_categories(
    tmp_path: Path, write_panoptic: WritePanoptic
) -> None:
    path = write_panoptic(tmp_path / "set", [(IDS, [(300, 3, 0), (7, 5, 0)])])
    clean = json.loads(path.read_text())
    wrong = copy.deepcopy(clean)
    wrong["annotations"][0]["segments_info"][0] |= {"area": 1, "bbox": [0, 0, 1, 1], "isthing": 0}
    fixed, changed = corrected(wrong, path.parent / "masks")
    segment = fixed["annotations"][0]["segments_info"][0]
    assert (segment["area"], segment["bbox"], segment["isthing"]) == (16, [2, 2, 4, 4], 1)
    assert changed == {"area": 1, "bbox": 1, "isthing": 1}
    assert not inspect_data(fixed, path.parent / "images", path.parent / "masks", workers=1)


def test_absent_png_is_no_reason_to_guess(tmp_path: Path, write_panoptic: WritePanoptic) -> None:
    path = write_panoptic(tmp_path / "set", [(IDS, [(300, 3, 0), (7, 5, 0)])])
    wrong = json.loads(path.read_text())
    wrong["annotations"][0]["segments_info"][0]["area"] = 1
    assert corrected(wrong, tmp_path / "absent") == (wrong, {})


def test_tool_writes_a_new_file_alone(
    tmp_path: Path, write_panoptic: WritePanoptic, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_panoptic(tmp_path / "set", [(IDS, [(300, 3, 0), (7, 5, 0)])])
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["area"] = 1
    path.write_text(json.dumps(content))
    folders = ["--images", str(path.parent / "images"), "--masks", str(path.parent / "masks")]
    new = tmp_path / "new.json"
    inspect = tool_main("inspect_data")
    assert inspect([str(path), *folders, "--fix", str(new)]) == 1
    assert "new.json; set 1 area" in capsys.readouterr().out
    assert json.loads(path.read_text()) == content
    assert inspect([str(new), *folders]) == 0
    assert inspect([str(path), *folders, "--fix", str(path)]) == 2
    assert "exists already: name a new file" in capsys.readouterr().err
