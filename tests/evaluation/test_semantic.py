"""The confusion matrix and what is read from it."""

from __future__ import annotations

import numpy as np
import pytest

from seg_projects.evaluation.confusion import confusion_matrix
from seg_projects.evaluation.semantic import semantic_scores


def test_rows_are_truth_columns_prediction_and_ignored_pixels_are_out():
    matrix = confusion_matrix(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]]), 2)
    assert matrix.tolist() == [[1, 1], [0, 1]]


def test_scores_follow_from_the_matrix():
    # Class 0: 3 of 4 found, 1 too many; class 1: 1 of 2 found, 1 too many; class 2 is absent.
    scores = semantic_scores(np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]]))
    assert scores["iou"][:2].tolist() == pytest.approx([60, 100 / 3])
    assert np.isnan(scores["iou"][2])
    assert scores["mIoU"] == pytest.approx((60 + 100 / 3) / 2)
    assert scores["fwIoU"] == pytest.approx((60 * 4 + 100 / 3 * 2) / 6)
    assert scores["mACC"] == pytest.approx((75 + 50) / 2)
    assert scores["pACC"] == pytest.approx(100 * 4 / 6)


def test_nothing_labelled_is_nan_not_an_error():
    assert np.isnan(semantic_scores(np.zeros((2, 2), int))["mIoU"])


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2\), the truth \(1, 3\)"):
        confusion_matrix(np.zeros((1, 3), int), np.zeros((1, 2), int), 2)
