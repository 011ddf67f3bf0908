"""AP of a model on a data set in the COCO instances format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.structures import Boxes, Instances
from seg_projects.data import register_instances
from seg_projects.errors import UserError
from seg_projects.evaluation import build_evaluator
from seg_projects.evaluation.instance_truth import InstanceGroundTruth

NAME = "instance_truth"
# Cells of 3 x 3 pixels on a grid, one pixel apart: 16 x 16 objects in an image.
ROWS = 16
CORNERS = [(4 * x, 4 * y) for y in range(ROWS) for x in range(ROWS)]


@pytest.fixture
def truth(tmp_path: Path) -> str:
    size = 4 * ROWS
    annotations = [
        {
            "id": number,
            "image_id": 0,
            "category_id": 4,
            "iscrowd": 0,
            "area": 9,
            "bbox": [x, y, 3, 3],
            "segmentation": [[x, y, x + 3, y, x + 3, y + 3, x, y + 3]],
        }
        for number, (x, y) in enumerate(CORNERS, start=1)
    ]
    content = {
        "images": [{"id": 0, "file_name": "0.png", "height": size, "width": size}],
        "annotations": annotations,
        "categories": [{"id": 4, "name": "cell"}],
    }
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(content))
    register_instances(NAME, image_root=tmp_path, instances_json=path)
    return NAME


def _all_found() -> dict[str, Instances]:
    size = 4 * ROWS
    masks = torch.zeros(len(CORNERS), size, size, dtype=torch.bool)
    for mask, (x, y) in zip(masks, CORNERS, strict=True):
        mask[y : y + 3, x : x + 3] = True
    found = Instances((size, size))
    corners = torch.tensor(CORNERS, dtype=torch.float32)
    found.pred_boxes = Boxes(torch.cat((corners, corners + 3), dim=1))
    found.scores = torch.linspace(1, 0.5, len(CORNERS))
    found.pred_classes = torch.zeros(len(CORNERS), dtype=torch.int64)
    found.pred_masks = masks
    return {"instances": found}


def _evaluate(max_detections: int, folder: Path) -> Any:
    evaluator = build_evaluator(NAME, folder, max_detections=max_detections)
    evaluator.reset()
    evaluator.process([{"image_id": 0}], [_all_found()])
    return evaluator.evaluate()


def test_a_limit_above_the_objects_lets_all_count(truth: str, tmp_path: Path) -> None:
    result = _evaluate(256, tmp_path)
    assert (result["segm"]["AP"], result["bbox"]["AP50"]) == pytest.approx((100, 100))
    assert result["segm"]["AP-cell"] == pytest.approx(100)


def test_a_limit_below_them_bounds_the_recall(truth: str, tmp_path: Path, caplog: Any) -> None:
    # 100 of 256 objects: recall 39.06, and precision 1 at the 40 of 101 points up to it.
    result = _evaluate(100, tmp_path)
    assert result["segm"]["AR100"] == pytest.approx(100 * 100 / 256)
    assert result["segm"]["AP"] == pytest.approx(100 * 40 / 101)
    assert "156 predictions are beyond the first 100" in caplog.text


def test_masks_are_those_of_the_file(truth: str) -> None:
    from pycocotools import mask as coco_mask

    rows = InstanceGroundTruth(truth).instance_annotations(0)
    mask = coco_mask.decode(rows[17]["segmentation"])
    assert np.argwhere(mask).min(axis=0).tolist() == [4, 4]
    assert mask.sum() == 9


def test_an_image_that_is_not_in_the_file_is_named(truth: str) -> None:
    with pytest.raises(UserError, match="Image 5 is not in"):
        InstanceGroundTruth(truth).instance_annotations(5)
