"""Scores of masks of classes: each class by itself, pixels of several counting for each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg_projects.data import register_class_masks
from seg_projects.errors import UserError
from seg_projects.evaluation.build import build_evaluator
from seg_projects.evaluation.class_masks import plane_counts
from seg_projects.evaluation.confusion import class_counts, confusion_matrix

NAME = "class_masks_scored"
# Of four pixels; 7 does not count. Both classes lie on the second pixel.
MASKS = {"cat": (1, 1, 0, 7), "black": (0, 1, 1, 0), "bird": (0, 0, 0, 0)}
SCORES = [[5.0, 0.1, 0.2, 3.0], [-1.0, 2.0, 0.0, 1.0], [-1.0, -1.0, -1.0, 0.5]]


@pytest.fixture
def results(tmp_path: Path) -> dict[str, float]:
    for label, values in MASKS.items():
        (tmp_path / "masks" / label).mkdir(parents=True)
        Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "masks" / label / "a.png")
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    register_class_masks(
        NAME,
        image_root=tmp_path / "images",
        mask_root=tmp_path / "masks",
        classes=list(MASKS),
        ignore_label=7,
    )
    evaluator = build_evaluator(NAME, tmp_path)
    logits = torch.tensor(SCORES)[:, None]
    evaluator.process([{"image_id": "a"}], [{"sem_seg": logits}])
    # An image that a second process sees, too, counts once.
    evaluator.process([{"image_id": "a"}], [{"sem_seg": logits}])
    found: Any = evaluator.evaluate()
    return found["sem_seg"]


def test_each_class_is_scored_by_itself(results: dict[str, float]) -> None:
    # cat: found on pixels 1 to 3, the fourth does not count; black: on pixels 2 and 4.
    assert results["IoU-cat"] == pytest.approx(100 * 2 / 3)
    assert results["Dice-cat"] == pytest.approx(100 * 4 / 5)
    assert results["IoU-black"] == pytest.approx(100 * 1 / 3)
    assert results["ACC-black"] == pytest.approx(50)
    assert results["precision-black"] == pytest.approx(50)
    assert results["mIoU"] == pytest.approx(50)
    assert results["mDice"] == pytest.approx((80 + 50) / 2)


def test_a_class_that_the_truth_lacks_has_no_iou(results: dict[str, float], tmp_path: Path) -> None:
    assert math.isnan(results["IoU-bird"])
    assert results["mIoU_union"] == pytest.approx(100 / 3)
    written = json.loads((tmp_path / "semantic.json").read_text())
    assert written["notes"] == ["absent from the truth: bird. mIoU and mDice leave them out."]
    assert written["worst_images"]["mIoU"][0]["image_id"] == "a"


def test_scores_of_one_class_per_pixel_are_left_out(results: dict[str, float]) -> None:
    assert not {"pACC", "kappa", "fwIoU"} & set(results)


def test_metrics_of_label_maps_are_refused(results: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"SEMANTIC_METRICS is \['boundary_f1'\]"):
        build_evaluator(NAME, "unused", semantic_metrics=["boundary_f1"])


def test_counts_of_disjoint_classes_are_those_of_a_label_map() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 5, 7))
    truth[0] = 255
    planes = np.stack([np.where(truth == 255, 255, truth == k) for k in range(3)])
    found = plane_counts(planes.astype(np.uint8), np.stack([predicted == k for k in range(3)]))
    assert np.array_equal(found, class_counts(confusion_matrix(truth, predicted, 3)))
