"""Every evaluator on no image, without predictions, without truth, and with one class."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from seg_projects.data.datasets.panoptic import register_panoptic
from seg_projects.evaluation.cityscapes_evaluators import (
    CityscapesInstanceEvaluator,
    CityscapesSemanticEvaluator,
)
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.instances import InstanceEvaluator
from seg_projects.evaluation.panoptic import PanopticEvaluator
from seg_projects.evaluation.semantic import SemanticEvaluator

NAME = "extreme"
CITY = "extreme_city"
SIZE = (12, 12)  # more than the 100 pixels that Cityscapes asks of an instance


def _instances(number: int) -> Instances:
    """``number`` instances of class 0 that cover the left half."""
    result = Instances(SIZE)
    result.pred_masks = torch.zeros(number, *SIZE, dtype=torch.bool)
    result.pred_masks[:, :, :3] = True
    result.pred_boxes = Boxes(torch.tensor([[0.0, 0, 3, 12]]).repeat(number, 1))
    result.scores = torch.ones(number)
    result.pred_classes = torch.zeros(number, dtype=torch.long)
    return result


def _output(predicts: bool, classes: int) -> dict[str, Any]:
    ids = torch.zeros(SIZE, dtype=torch.int32)
    ids[:, :3] = int(predicts)
    return {
        "panoptic_seg": (ids, [{"id": 1, "isthing": True, "category_id": 0}] if predicts else []),
        "instances": _instances(int(predicts)),
        "sem_seg": torch.nn.functional.one_hot(torch.zeros(SIZE).long(), classes).permute(2, 0, 1),
    }


@pytest.fixture
def panoptic(tmp_path: Any, write_panoptic: Any) -> Iterator[Callable[[bool], PanopticGroundTruth]]:
    """A truth of one image: a cat in the left half, or void alone."""

    def build(labelled: bool) -> PanopticGroundTruth:
        ids = np.zeros(SIZE, dtype=np.int64)
        ids[:, :3] = int(labelled)
        path = write_panoptic(tmp_path / "set", [(ids, [(1, 3, 0)] if labelled else [])])
        roots = {"image_root": tmp_path / "set/images", "panoptic_root": tmp_path / "set/masks"}
        register_panoptic(NAME, panoptic_json=path, **roots)
        return PanopticGroundTruth(NAME)

    yield build
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


EVALUATORS = {
    "panoptic": (lambda truth: PanopticEvaluator(truth, boundary_share=0.02), "panoptic_seg", "PQ"),
    "boxes": (lambda truth: InstanceEvaluator(truth, boundary_share=0.02), "bbox", "AP"),
    "masks": (lambda truth: InstanceEvaluator(truth, boundary_share=0.02), "segm", "BAP"),
    "semantic": (SemanticEvaluator, "sem_seg", "mIoU"),
}
# (an image is processed, it is labelled, something is predicted), the value, what is said.
CASES = {
    "no image": (False, True, True, math.nan, "No image was evaluated"),
    "no prediction": (True, True, False, 0.0, "nothing was predicted"),
    "no truth": (True, False, True, math.nan, "undefined (NaN"),
    "neither": (True, False, False, math.nan, "undefined (NaN"),
    "one class": (True, True, True, 100.0, ""),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", EVALUATORS)
def test_extreme_sets_have_a_value_and_a_word(
    name: str, case: str, panoptic: Any, caplog: pytest.LogCaptureFixture
) -> None:
    processed, labelled, predicts, value, words = CASES[case]
    build, task, key = EVALUATORS[name]
    truth = panoptic(labelled)
    evaluator = build(truth)
    if processed:
        output = _output(predicts, len(truth.metadata.stuff_classes))
        evaluator.process([{"image_id": 0}], [output])
    with caplog.at_level(logging.WARNING):
        results = evaluator.evaluate()
    assert results is not None
    result = results[task]
    if name == "semantic" and case == "no prediction":
        value, words = 100.0, ""  # a class is predicted everywhere, here the right one
    if name == "panoptic" and case == "no prediction":
        words = "No stuff occurs"
    assert result[key] == pytest.approx(value, nan_ok=True)
    assert words in caplog.text


@pytest.fixture
def city(tmp_path: Any) -> Iterator[Callable[[int], dict[str, Any]]]:
    """A gtFine file of one id and its record."""

    def build(value: int) -> dict[str, Any]:
        (tmp_path / "ulm").mkdir(exist_ok=True)
        for kind in ("labelIds", "instanceIds"):
            ids = np.full(SIZE, value if kind == "instanceIds" else value // 1000 or value)
            ids = ids.astype(np.uint16 if kind == "instanceIds" else np.uint8)
            Image.fromarray(ids).save(tmp_path / f"ulm/a_gtFine_{kind}.png")
        return {"file_name": str(tmp_path / "ulm/a_leftImg8bit.png")}

    MetadataCatalog.get(CITY).set(gt_dir=str(tmp_path), thing_classes=["car"])
    MetadataCatalog.get(CITY).set(stuff_classes=["road", "car"])
    yield build
    MetadataCatalog.remove(CITY)


@pytest.mark.parametrize(
    ("evaluator", "task", "key"),
    [
        (CityscapesInstanceEvaluator, "segm", "AP"),
        (CityscapesSemanticEvaluator, "sem_seg", "IoU"),
    ],
)
@pytest.mark.parametrize("value", [None, 0, 26001], ids=["no image", "no truth", "no prediction"])
def test_cityscapes_sets_have_a_value_and_a_word(
    evaluator: Any, task: str, key: str, value: Any, city: Any, caplog: Any
) -> None:
    judge = evaluator(CITY)
    if value is not None:
        judge.process([city(value)], [_output(False, 2)])
    with caplog.at_level(logging.WARNING):
        result = judge.evaluate()[task]
    assert result[key] == pytest.approx(0 if value else math.nan, nan_ok=True)
    if not value:
        assert "undefined (NaN)" in caplog.text
    elif task == "segm":
        assert "AP is 0: nothing was predicted" in caplog.text
