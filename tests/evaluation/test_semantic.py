"""The semantic evaluator: Detectron2's numbers, boundaries by config."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden

from seg_projects.errors import UserError
from seg_projects.evaluation.confusion import confusion_matrix
from seg_projects.evaluation.semantic import SemanticEvaluator
from seg_projects.evaluation.semantic_metrics import (
    BoundaryF1,
    BoundaryIoU,
    LabelPair,
    PixelMetric,
    SurfaceDistance,
    build_semantic_metrics,
)

PIXELS = (PixelMetric(),)
Maps = list[tuple[np.ndarray, np.ndarray]]


def _evaluator(
    maps: Maps, names: list[str], metrics: Any = PIXELS, output_dir: Path | None = None
) -> SemanticEvaluator:
    truth: Any = SimpleNamespace(
        metadata=SimpleNamespace(stuff_classes=names),
        labels=lambda image_id: maps[image_id][0],
        file_name=lambda image_id: f"{image_id}.jpg",
    )
    evaluator = SemanticEvaluator(truth, metrics, output_dir)
    for number, (_, labels) in enumerate(maps):
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), len(names))
        evaluator.process([{"image_id": number}], [{"sem_seg": one_hot.permute(2, 0, 1).float()}])
    return evaluator


def _evaluate(maps: Maps, names: list[str], metrics: Any = PIXELS) -> dict[str, float]:
    """Of pairs (truth, predicted) of label maps."""
    result = _evaluator(maps, names, metrics).evaluate()
    assert result is not None
    return result["sem_seg"]


def test_detectron2s_values_under_its_keys_to_the_last_digit() -> None:
    golden = Golden("sem_seg_evaluator")
    maps = [(golden.input_array(f"gt{i}"), golden.input_array(f"pred{i}")) for i in range(2)]
    names = golden.params["classes"]
    result = _evaluate(maps, names)
    keys = ["mIoU", "fwIoU", "mACC", "pACC", *(f"{k}-{n}" for k in ("IoU", "ACC") for n in names)]
    expected = golden.json("result")
    # JSON knows no NaN: it holds "nan".
    np.testing.assert_array_equal([result[k] for k in keys], [float(expected[k]) for k in keys])


def test_rows_are_truth_columns_prediction_and_ignored_pixels_are_out() -> None:
    matrix = confusion_matrix(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_scores_of_pixels_per_class() -> None:
    # Class 0: 3 of 4 found, 1 too many; class 1: 1 of 2 found, 1 too many; 2 is predicted alone.
    truth = np.array([[0, 0, 0, 0, 1, 1, 255]])
    scores = _evaluate([(truth, np.array([[0, 0, 0, 1, 1, 0, 2]]))], ["a", "b", "c"])
    assert [scores["IoU-a"], scores["IoU-b"]] == pytest.approx([60, 100 / 3])
    assert [scores["Dice-a"], scores["ACC-a"], scores["precision-a"]] == pytest.approx([75] * 3)
    assert all(np.isnan(scores[f"{key}-c"]) for key in ("IoU", "ACC", "Dice", "precision"))


def test_boundary_scores_pool_the_images() -> None:
    truth = np.array([[0, 0, 0, 1, 1, 1]])
    maps = [(truth, truth), (truth, np.array([[0, 1, 1, 1, 1, 1]]))]
    scores = _evaluate(maps, ["a", "b"], (PixelMetric(), BoundaryF1(0.0), BoundaryIoU(0.01)))
    # Edges of the truth at 2 | 3, of the second prediction at 0 | 1: 1 of 2 have a counterpart.
    assert (scores["BF1-a"], scores["BF1-b"], scores["mBF1"]) == (50, 50, 50)
    # One row: all of it lies at the frame, so the bands are the classes.
    assert scores["BIoU-a"] == scores["IoU-a"] == pytest.approx(100 * 4 / 6)
    assert scores["mBIoU"] == pytest.approx((100 * 4 / 6 + 100 * 6 / 8) / 2)


def test_boundary_f1_is_pooled_and_by_image() -> None:
    # One image is perfect, with a contour pixel a class; in the other one are 4 of them, and those
    # of the prediction are two columns off.
    small, found = np.array([[0, 0, 0, 1, 1, 1]]), np.array([[0, 1, 1, 1, 1, 1]])
    maps = [(small, small), (np.repeat(small, 4, axis=0), np.repeat(found, 4, axis=0))]
    scores = _evaluate(maps, ["a", "b", "c"], (BoundaryF1(0.0),))
    assert scores["BF1-a"] == scores["mBF1"] == pytest.approx(100 / 5)
    assert scores["BF1_images-a"] == scores["mBF1_images"] == 50
    assert np.isnan(scores["BF1_images-c"])


def test_the_mean_of_boundary_f1_over_images_weighs_images_equally() -> None:
    # The first image has two classes, of F1 100; the second one, of class b alone in the truth and
    # of a in the prediction's corner, none that meets: 100 and 0 by image, 50 in the mean.
    perfect = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    alone, invented = np.ones((2, 4), int), np.array([[0, 1, 1, 1], [1, 1, 1, 1]])
    scores = _evaluate([(perfect, perfect), (alone, invented)], ["a", "b"], (BoundaryF1(0.0),))
    assert scores["mBF1_images"] == 50


def test_a_boundary_on_one_side_alone_scores_0_and_on_none_is_undefined() -> None:
    flat, edge = np.zeros((2, 4), int), np.array([[0, 0, 1, 1]] * 2)
    metrics = (BoundaryF1(),)
    missed = _evaluate([(edge, flat)], ["a", "b", "c"], metrics)
    assert (missed["BF1-a"], missed["BF1-b"], missed["mBF1"]) == (0, 0, 0)
    assert np.isnan(missed["BF1-c"])
    invented = _evaluate([(flat, edge)], ["a", "b", "c"], metrics)
    assert (invented["BF1-a"], invented["BF1-b"]) == (0, 0)
    assert np.isnan(invented["mBF1"])


def test_surface_distances_tell_missed_classes_in_two_ways() -> None:
    truth = np.array([[0, 0, 0, 0, 1]])
    maps = [(truth, np.array([[0, 0, 1, 1, 1]])), (truth, np.zeros((1, 5), int))]
    scores = _evaluate(maps, ["a", "b", "c"], (SurfaceDistance(spacing=(9.0, 2.0)),))
    # Class 1 is two pixels of 2 mm too wide on the left, then missed; the diagonal is far.
    assert (scores["HD-b"], scores["one_sided-b"]) == (4, 1)
    assert scores["HD_diagonal-b"] == pytest.approx((4 + np.hypot(9, 10)) / 2)
    # Class 0 misses two pixels and then has one too many; pixels in both are at distance 0.
    assert scores["HD-a"] == pytest.approx((4 + 2) / 2)
    assert scores["ASSD-a"] == pytest.approx(((2 + 4) / 6 + 2 / 9) / 2)
    assert np.isnan(scores["HD-c"])
    assert scores["mHD"] == pytest.approx((4 + 3) / 2)


def test_a_records_spacing_comes_before_that_of_the_config() -> None:
    pair = LabelPair(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), 2, (1.0, 0.5))
    assert SurfaceDistance((1.0, 7.0)).count(pair)[1].tolist() == [0.5, 0.5]


def test_numbers_notes_and_worst_images_are_written(tmp_path: Path) -> None:
    truth = np.array([[0, 0, 1, 1]])
    maps = [(truth, truth), (truth, np.array([[0, 0, 0, 0]])), (truth, np.array([[0, 2, 1, 1]]))]
    metrics = (PixelMetric(), SurfaceDistance())
    _evaluator(maps, ["a", "b", "c"], metrics, tmp_path / "out").evaluate()
    content = json.loads((tmp_path / "out/semantic.json").read_text())
    assert content["summary"]["pACC"] == pytest.approx(100 * 9 / 12)
    assert content["per_category"]["c"]["IoU"] is None
    assert "predicted, though absent from the truth: c." in content["notes"][0]
    assert content["worst_images"]["mIoU"][0] == {
        "image_id": 1,
        "file_name": "1.jpg",
        "value": 25.0,
    }
    # The diagonal of a missed class is the longest distance.
    assert [i["image_id"] for i in content["worst_images"]["mHD_diagonal"]] == [1, 2, 0]


def test_memory_grows_by_a_fixed_table_per_image() -> None:
    rng = np.random.default_rng(0)
    metrics = (PixelMetric(), BoundaryF1(), BoundaryIoU())
    names, sizes = [str(k) for k in range(19)], []
    for number in (20, 200):
        tracemalloc.start()
        images = rng.integers(0, 19, (2, 64, 64))
        evaluator = _evaluator([(images[0], images[1])] * number, names, metrics)
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(evaluator.counts) == number
    # 3 + 3 rows of 4 bytes and 8 of 8 per class, and Python's objects around them: less than the
    # 4096 pixels of an image in one byte each.
    per_image = (sizes[1] - sizes[0]) / 180
    table = (6 * 4 + 8 * 8) * 19
    assert table < per_image < table + 1000


def test_no_image_at_all_is_undefined() -> None:
    scores = _evaluate([], ["a", "b"], (PixelMetric(), BoundaryF1(), BoundaryIoU()))
    assert {"mIoU", "IoU-a", "BIoU-b"} <= scores.keys()
    assert all(np.isnan(value) for value in scores.values())


def test_the_config_chooses_metrics_and_their_options() -> None:
    entries = ["boundary_iou", ["boundary_f1", {"tolerance": 0.02}]]
    assert build_semantic_metrics(entries) == [PixelMetric(), BoundaryIoU(), BoundaryF1(0.02)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("boundary", "names 'boundary'; known: boundary_f1, boundary_iou, surface"),
        (["boundary_f1", {"width": 1}], r"boundary_f1 has the options \['width'\]; known: toler"),
        (["boundary_f1", 0.02], "an entry is a name or"),
    ],
)
def test_a_wrong_entry_is_named(entry: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_semantic_metrics([entry])
