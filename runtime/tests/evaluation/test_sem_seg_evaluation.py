"""The semantic evaluator and its kernels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden
from PIL import Image
from pycocotools import mask as mask_api
from torch import Tensor

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator
from detectron2.evaluation.sem_seg_evaluation import load_image_into_numpy_array
from detectron2.evaluation.sem_seg_metrics import (
    boundary_map,
    confusion,
    intersection_over_union,
    scores,
)
from detectron2.utils import comm

NAME = "sem_seg_evaluation_test"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def register(folder: Path, truths: list[np.ndarray], classes: list[str]) -> None:
    records = []
    for k, truth in enumerate(truths):
        Image.fromarray(truth).save(folder / f"{k}.png")
        records.append({"file_name": f"{k}.jpg", "sem_seg_file_name": str(folder / f"{k}.png")})
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(stuff_classes=classes, ignore_label=255)


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    tensor = torch.from_numpy(labels).long()
    return torch.nn.functional.one_hot(tensor, classes).permute(2, 0, 1).float()


def process(evaluator: SemSegEvaluator, predictions: list[Tensor], first: int = 0) -> None:
    inputs = [{"file_name": f"{k}.jpg"} for k in range(first, first + len(predictions))]
    evaluator.process(inputs, [{"sem_seg": p} for p in predictions])


def evaluated(predictions: list[Tensor], **options: Any) -> dict[str, float]:
    evaluator = SemSegEvaluator(NAME, distributed=False, **options)
    process(evaluator, predictions)
    results = evaluator.evaluate()
    assert results is not None
    return results["sem_seg"]


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    case = Golden("sem_seg_evaluator")
    register(tmp_path, [case.input_array(f"gt{k}") for k in range(2)], case.params["classes"])
    return case


def recorded_predictions(golden: Golden) -> list[Tensor]:
    return [one_hot(golden.input_array(f"pred{k}"), 5) for k in range(2)]


def test_results_are_the_recorded_ones_in_order(golden: Golden) -> None:
    results = evaluated(recorded_predictions(golden))
    golden.check_json("result", results)
    assert list(results) == golden.json("order")


def test_files_and_encoding_are_the_recorded_ones(golden: Golden, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    results = evaluated(recorded_predictions(golden), output_dir=str(folder))
    records = json.loads((folder / "sem_seg_predictions.json").read_text())
    first = [record for record in records if record["file_name"] == "0.jpg"]
    golden.check_json(
        "encoded",
        {
            "ids": [record["category_id"] for record in first],
            "keys": sorted(first[0]),
            "files": sorted(path.name for path in folder.iterdir()),
        },
    )
    decoded = mask_api.decode(first[2]["segmentation"])
    assert (decoded == (golden.input_array("pred0") == 2)).all()
    saved = torch.load(folder / "sem_seg_evaluation.pth", weights_only=True)
    assert saved.keys() == results.keys()


def test_encoding_uses_the_dataset_ids(golden: Golden) -> None:
    MetadataCatalog.get(NAME).stuff_dataset_id_to_contiguous_id = {10: 0, 11: 1}
    evaluator = SemSegEvaluator(NAME)
    records = evaluator.encode_json_sem_seg(np.array([[0, 1]]), "f")
    assert [record["category_id"] for record in records] == [10, 11]
    with pytest.raises(AssertionError, match="Class 4 is not in"):
        evaluator.encode_json_sem_seg(np.array([[4]]), "f")


def test_ranks_are_merged(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = recorded_predictions(golden)
    other, evaluator = SemSegEvaluator(NAME), SemSegEvaluator(NAME)
    process(other, predictions[1:], first=1)
    process(evaluator, predictions[:1])
    parts = (other._confusion, other._boundary_confusion, other._predictions)
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, parts])
    results = evaluator.evaluate()
    assert results is not None
    golden.check_json("result", results["sem_seg"])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() is None


def test_reset_forgets(golden: Golden) -> None:
    evaluator = SemSegEvaluator(NAME, distributed=False)
    process(evaluator, recorded_predictions(golden)[::-1])
    evaluator.reset()
    process(evaluator, recorded_predictions(golden))
    results = evaluator.evaluate()
    assert results is not None
    golden.check_json("result", results["sem_seg"])


def test_all_ignored_gives_nan(tmp_path: Path) -> None:
    register(tmp_path, [np.full((4, 4), 255, dtype=np.uint8)], ["a", "b"])
    results = evaluated([torch.zeros(2, 4, 4)])
    # The boundary's class 0 is also what lies inside, whatever its label.
    assert all(math.isnan(v) for k, v in results.items() if not k.startswith("BoundaryIoU"))


def test_perfect_predictions_score_100(tmp_path: Path) -> None:
    truth = np.array([[0, 0, 1], [1, 1, 255]], dtype=np.uint8)
    register(tmp_path, [truth], ["a", "b"])
    results = evaluated([one_hot(np.where(truth == 255, 0, truth), 2)])
    assert [results[k] for k in ("mIoU", "fwIoU", "mACC", "pACC", "IoU-a", "ACC-b")] == [100] * 6


@pytest.mark.parametrize("classes", [15, 16, 40, 300])
def test_boundaries_are_right_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    truth = np.zeros((6, 6), dtype=np.uint16)
    truth[1:5, 1:5] = classes - 1
    register(tmp_path, [truth], [str(k) for k in range(classes)])
    results = evaluated([one_hot(truth.astype(np.int64), classes)])
    # The boundary, one pixel wide, is 12 of the 16 pixels, and the same on both sides.
    assert results[f"BoundaryIoU-{classes - 1}"] == 100
    assert results[f"min(IoU, B-Iou)-{classes - 1}"] == 100


@pytest.mark.parametrize(
    ("label", "message"), [(2, "has the label 2; labels are below 2, or 255"), (7, "the label 7")]
)
def test_labels_outside_the_classes_are_named(tmp_path: Path, label: int, message: str) -> None:
    register(tmp_path, [np.array([[0, label]], dtype=np.uint8)], ["a", "b"])
    with pytest.raises(ValueError, match=message):
        evaluated([torch.zeros(2, 1, 2)])


def test_wrong_predictions_are_refused(golden: Golden) -> None:
    with pytest.raises(ValueError, match="predicts 7 classes, the metadata have 5"):
        evaluated([one_hot(golden.input_array("pred0") + 2, 7)])
    with pytest.raises(ValueError, match=r"\(3, 4\), the ground truth \(60, 80\)"):
        evaluated([torch.zeros(5, 3, 4)])


def test_class_count_must_agree_with_the_metadata(golden: Golden) -> None:
    SemSegEvaluator(NAME, num_classes=5)
    with pytest.raises(AssertionError, match="num_classes=6"):
        SemSegEvaluator(NAME, num_classes=6)


def test_ignore_label_and_loading_can_be_replaced(tmp_path: Path) -> None:
    register(tmp_path, [np.zeros((1, 2), dtype=np.uint8)], ["a", "b"])
    seen = []

    def load(name: str, dtype: Any) -> np.ndarray:
        seen.append((name, dtype))
        return np.array([[1, 9]])

    results = evaluated([torch.zeros(2, 1, 2)], sem_seg_loading_fn=load, ignore_label=9)
    # One pixel of class b, predicted as a; the other is ignored.
    assert (results["mIoU"], results["pACC"]) == (0, 0)
    assert seen == [(str(tmp_path / "0.png"), int)]


def test_images_are_read_in_the_wanted_type(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1, 2]], dtype=np.uint8)).save(tmp_path / "x.png")
    path = str(tmp_path / "x.png")
    assert load_image_into_numpy_array(path).dtype == np.uint8
    assert load_image_into_numpy_array(path, dtype=np.dtype(np.int64)).tolist() == [[1, 2]]


def test_confusion_is_predicted_by_true() -> None:
    matrix = confusion(np.array([[0, 1, 1]]), np.array([[1, 1, 0]]), 2)
    assert matrix.tolist() == [[0, 1], [1, 1]]


def test_boundary_is_the_label_less_the_least_around() -> None:
    labels = np.full((5, 5), 3, dtype=np.uint8)
    labels[2, 4] = 1
    # One pixel wide; the border counts as 0; the four inner pixels near the 1 lose 1.
    expected = np.array(
        [[3, 3, 3, 3, 3], [3, 0, 0, 2, 3], [3, 0, 0, 2, 1], [3, 0, 0, 2, 3], [3, 3, 3, 3, 3]]
    )
    assert boundary_map(labels).tolist() == expected.tolist()


def test_scores_of_a_small_matrix() -> None:
    # 8 pixels of class 0, 6 of them right; 2 of class 1, both right; class 2 is only predicted.
    result = scores(np.array([[6, 0, 0], [1, 2, 0], [1, 0, 0]]))
    iou = [6 / 8, 2 / 3]
    assert result.iou[:2] == pytest.approx(iou)
    assert math.isnan(result.iou[2])
    assert result.miou == pytest.approx(sum(iou) / 2)
    assert result.fwiou == pytest.approx(0.8 * iou[0] + 0.2 * iou[1])
    assert (result.macc, result.pacc) == pytest.approx((0.875, 0.8))


def test_iou_of_absent_classes_is_nan() -> None:
    iou = intersection_over_union(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert iou[:2].tolist() == [0.75, 0]
    assert math.isnan(iou[2])
