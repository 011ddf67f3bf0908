"""Scores of a confusion matrix against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_projects.errors import UserError
from seg_projects.evaluation.confusion import (
    class_counts,
    class_counts_on_device,
    class_scores,
    confusion_matrix,
    mean_scores,
    numpy_count_pairs,
)

labels = hnp.arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 255]))
predicted = hnp.arrays(np.uint8, (3, 4), elements=st.integers(0, 2))


@settings(max_examples=200, deadline=None)
@given(labels, predicted)
def test_class_scores_equal_the_definition_on_sets_of_pixels(
    truth: np.ndarray, found: np.ndarray
) -> None:
    scores = class_scores(class_counts(confusion_matrix(truth, found, 3)))
    judged = truth != 255
    for label in range(3):
        t, p = (truth == label), (found == label) & judged
        hits = (t & p).sum()
        pairs = {
            "IoU": (hits, (t | p).sum()),
            "Dice": (2 * hits, t.sum() + p.sum()),
            "precision": (hits, p.sum()),
            "recall": (hits, t.sum()),
        }
        for key, (part, whole) in pairs.items():
            expected = 100 * part / whole if whole else np.nan
            np.testing.assert_allclose(scores[key][label], expected)


@settings(max_examples=200, deadline=None)
@given(labels, predicted)
def test_means_equal_the_definition_pixel_by_pixel(truth: np.ndarray, found: np.ndarray) -> None:
    scores = mean_scores(class_counts(confusion_matrix(truth, found, 3)))
    pixels = [(int(t), int(f)) for t, f in zip(truth.flat, found.flat, strict=True) if t != 255]
    total, of_truth = len(pixels), [sum(t == k for t, _ in pixels) for k in range(3)]
    of_found = [sum(f == k for _, f in pixels) for k in range(3)]
    hits = [sum(t == f == k for t, f in pixels) for k in range(3)]
    # NaN where the class is on neither side.
    union = [of_truth[k] + of_found[k] - hits[k] for k in range(3)]
    iou = [hits[k] / union[k] if union[k] else np.nan for k in range(3)]
    in_truth = [k for k in range(3) if of_truth[k]]
    expected = {
        "mIoU": _mean([iou[k] for k in in_truth]),
        "mIoU_union": _mean([value for value in iou if not np.isnan(value)]),
        "mIoU_all": _mean(iou),
        "mACC": _mean([hits[k] / of_truth[k] for k in in_truth]),
        "mDice": _mean([2 * hits[k] / (of_truth[k] + of_found[k]) for k in in_truth]),
        "fwIoU": float(sum(iou[k] * of_truth[k] for k in in_truth)) / total if total else np.nan,
        "pACC": sum(hits) / total if total else np.nan,
    }
    if total:
        # Of two pixels drawn from truth and prediction one by one: how often they agree.
        chance = sum(t == f for t, _ in pixels for _, f in pixels) / total**2
        agree = sum(hits) / total
        expected["kappa"] = np.nan if chance == 1 else (agree - chance) / (1 - chance)
    for key, value in expected.items():
        assert scores[key] == pytest.approx(100 * value, nan_ok=True), key


def _mean(values: Any) -> float:
    return float(np.mean(values)) if values else np.nan


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int16, 12, elements=st.integers(-2, 5)),
    hnp.arrays(np.int16, 12, elements=st.integers(-1, 3)),
)
def test_compiled_and_numpy_count_the_same_pairs(truth: np.ndarray, found: np.ndarray) -> None:
    kernels = pytest.importorskip("seg_projects.postprocessing.label_kernels", reason="no numba")
    matrices = np.zeros((2, 3, 3), dtype=np.int64)
    outside = [
        count(truth, found, matrix)
        for count, matrix in zip((kernels.count_pairs, numpy_count_pairs), matrices, strict=True)
    ]
    expected = sum(0 <= t < 3 and not 0 <= p < 3 for t, p in zip(truth, found, strict=True))
    assert outside == [expected] * 2
    assert np.array_equal(*matrices)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_counts_on_the_device_are_those_of_the_matrix(device: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 3, 255], (30, 40)).astype(np.uint8)
    found = rng.integers(0, 4, (30, 40), dtype=np.uint8)
    counts = class_counts_on_device(truth, torch.from_numpy(found).to(device), 4)
    assert np.array_equal(counts.cpu().numpy(), class_counts(confusion_matrix(truth, found, 4)))


def test_a_prediction_of_no_class_is_refused_unless_ignored() -> None:
    assert confusion_matrix(np.array([255, 1]), np.array([9, 1]), 2).tolist() == [[0, 0], [0, 1]]
    with pytest.raises(UserError, match="2 pixels are predicted to be no class of 0 to 1"):
        confusion_matrix(np.array([0, 1, 1]), np.array([9, 1, -1]), 2)


@pytest.mark.parametrize("counted", [confusion_matrix, class_counts_on_device])
def test_other_sizes_are_refused(counted: Any) -> None:
    with pytest.raises(UserError, match=r"size \(2,\), the truth \(3,\)"):
        counted(np.zeros(3, int), torch.zeros(2, dtype=torch.uint8), 2)


def _means(confusion: list[list[int]]) -> dict[str, float]:
    return mean_scores(class_counts(np.array(confusion)))


def test_means_of_a_matrix_by_hand() -> None:
    # Class 0: 3 of 4 found; class 1: 1 of 2 found; class 2 is not in the truth, predicted once.
    scores = _means([[3, 1, 0], [0, 1, 1], [0, 0, 0]])
    assert scores["mIoU"] == pytest.approx((75 + 100 / 3) / 2)
    # The invented class costs here, and only here.
    assert scores["mIoU_union"] == pytest.approx((75 + 100 / 3 + 0) / 3)
    assert scores["fwIoU"] == pytest.approx((75 * 4 + 100 / 3 * 2) / 6)
    assert scores["mDice"] == pytest.approx((100 * 6 / 7 + 50) / 2)
    assert scores["mACC"] == pytest.approx((75 + 50) / 2)
    assert scores["pACC"] == pytest.approx(100 * 4 / 6)
    # Observed 4 / 6; by chance (4 * 3 + 2 * 2 + 0 * 1) / 36 = 4 / 9.
    assert scores["kappa"] == pytest.approx(100 * (4 / 6 - 4 / 9) / (1 - 4 / 9))


def test_nothing_labelled_is_nan() -> None:
    assert all(np.isnan(v) for v in _means([[0, 0], [0, 0]]).values())


def test_vocs_mean_is_over_all_classes() -> None:
    # VOC: IoU = TP / (TP + FP + FN) of every class, border pixels (255) left out, plain mean.
    truth = np.array([[0, 0, 255, 1, 1, 255, 2, 2]])
    found = np.array([[0, 0, 1, 1, 2, 2, 2, 2]])
    scores = mean_scores(class_counts(confusion_matrix(truth, found, 3)))
    assert scores["mIoU_all"] == pytest.approx(100 * (1 + 1 / 2 + 2 / 3) / 3)
    # A fourth class is predicted alone: 0 of VOC, left out of Detectron2's mean. A fifth nowhere.
    found[0, 0] = 3
    scores = mean_scores(class_counts(confusion_matrix(truth, found, 4)))
    assert scores["mIoU_all"] == scores["mIoU_union"] == pytest.approx(scores["mIoU"] * 3 / 4)
    assert np.isnan(mean_scores(class_counts(confusion_matrix(truth, found, 5)))["mIoU_all"])


def test_one_class_alone_is_perfect_and_kappa_undefined() -> None:
    scores = _means([[5]])
    assert (scores["mIoU"], scores["mIoU_union"], scores["pACC"]) == (100, 100, 100)
    assert np.isnan(scores["kappa"])
