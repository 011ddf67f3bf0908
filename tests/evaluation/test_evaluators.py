"""The evaluators on a data set: perfect, empty and missing predictions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from seg_projects.data.datasets.panoptic import register_panoptic
from seg_projects.errors import UserError
from seg_projects.evaluation import build_evaluator

NAME = "evaluated"
# A dog (8) of 2 x 2 and a cat (3), sky (5), a crowd of dogs, void.
IDS = np.array([[1, 1, 2, 3, 0], [1, 1, 2, 3, 4]])
SEGMENTS = [(1, 8, 0), (2, 3, 0), (3, 5, 0), (4, 8, 1)]


@pytest.fixture
def inputs(tmp_path: Path, write_panoptic: Any) -> list[dict[str, Any]]:
    path = write_panoptic(tmp_path / "set", [(IDS, SEGMENTS)])
    register_panoptic(
        NAME,
        image_root=tmp_path / "set/images",
        panoptic_json=path,
        panoptic_root=tmp_path / "set/masks",
    )
    return DatasetCatalog.get(NAME)


def _instances(ids: list[int], classes: list[int]) -> Instances:
    masks = torch.from_numpy(IDS)[None] == torch.tensor(ids, dtype=torch.long)[:, None, None]
    result = Instances(IDS.shape)
    result.pred_boxes = Boxes(torch.tensor([[0.0, 0, 2, 2], [2, 0, 3, 2]])[: len(ids)])
    result.scores = torch.ones(len(ids))
    result.pred_classes = torch.tensor(classes, dtype=torch.long)
    result.pred_masks = masks
    return result


def _perfect() -> dict[str, Any]:
    labels = torch.tensor([[0, 0, 0, 1, 2], [0, 0, 0, 1, 0]])
    panoptic = torch.from_numpy(np.where(IDS == 4, 0, IDS))
    segments = [
        {"id": 1, "isthing": True, "category_id": 1},
        {"id": 2, "isthing": True, "category_id": 0},
        {"id": 3, "isthing": False, "category_id": 1},
    ]
    return {
        "panoptic_seg": (panoptic, segments),
        "instances": _instances([1, 2], [1, 0]),
        "sem_seg": torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float(),
    }


def _evaluate(inputs: list[dict[str, Any]], output: dict[str, Any]) -> dict[str, Any]:
    folder = Path(MetadataCatalog.get(NAME).panoptic_json).parent
    evaluator = build_evaluator(NAME, folder / "figures", boundary_share=0.1)
    evaluator.reset()
    evaluator.process(inputs, [output])
    return evaluator.evaluate()


def test_a_perfect_prediction_scores_100_everywhere(inputs):
    result = _evaluate(inputs, _perfect())
    panoptic = result["panoptic_seg"]
    assert (panoptic["PQ"], panoptic["PQ_th"], panoptic["PQ_st"]) == (100, 100, 100)
    assert math.isnan(panoptic["PQ-grass"])
    assert (panoptic["BPQ"], panoptic["TP-dog"], panoptic["FN-dog"]) == (100, 1, 0)
    assert (result["bbox"]["AP"], result["segm"]["AP"]) == pytest.approx((100, 100))
    assert (result["segm"]["AP-cat"], result["segm"]["AP-dog"]) == pytest.approx((100, 100))
    assert (result["sem_seg"]["mIoU"], result["sem_seg"]["pACC"]) == (100, 100)


def test_no_predictions_score_0_with_a_word(inputs, caplog):
    output = _perfect()
    output["panoptic_seg"] = (torch.zeros(IDS.shape, dtype=torch.int32), [])
    output["instances"] = _instances([], [])
    result = _evaluate(inputs, output)
    assert result["panoptic_seg"]["PQ"] == 0
    assert (result["bbox"]["AP"], result["segm"]["AP"]) == (0, 0)
    assert "segm: AP is 0: nothing was predicted" in caplog.text


def test_the_prediction_is_left_as_it_is(inputs):
    output = _perfect()
    before = output["panoptic_seg"][0].clone()
    _evaluate(inputs, output)
    assert torch.equal(output["panoptic_seg"][0], before)


def test_an_image_without_annotation_is_named(inputs):
    with pytest.raises(UserError, match="Image 77 has no annotation"):
        _evaluate([{"image_id": 77}], _perfect())


def test_the_json_holds_all_numbers_and_the_worst_images(inputs, tmp_path):
    _evaluate(inputs, _perfect())
    content = json.loads((tmp_path / "set/figures/panoptic.json").read_text())
    assert content["summary"]["PQ"] == 100
    assert content["per_category"]["grass"]["PQ"] is None
    worst = content["worst_images"]["PQ"]
    assert worst == [{"image_id": 0, "file_name": "0.png", "value": 100}]


def test_areas_that_disagree_with_the_png_are_warned_of_once(inputs, tmp_path, caplog):
    path = tmp_path / "set/panoptic.json"
    content = json.loads(path.read_text())
    for segment in content["annotations"][0]["segments_info"]:
        segment["area"] *= 2
    path.write_text(json.dumps(content))
    result = _evaluate(inputs, _perfect())
    assert result["panoptic_seg"]["PQ"] == 100
    assert caplog.text.count("the `area` of") == 1
    assert "4 segment(s) disagrees with the PNG (first: segment 1 of 0.png: 8 against 4" in (
        caplog.text
    )
