"""Intervals and the paired test against data sets that are really drawn."""

from __future__ import annotations

import numpy as np
import pytest

from seg_projects.evaluation.bootstrap import (
    corrected_interval,
    draw_images,
    interval,
    paired_test,
    sampled_miou,
    sampled_pq,
)
from seg_projects.evaluation.confusion import class_counts, confusion_matrix, mean_scores
from seg_projects.evaluation.panoptic_quality import (
    OccurringCounts,
    PanopticCounts,
    counts_table,
    mean_quality,
    occurring_counts,
    panoptic_quality,
    total_counts,
)


def _counts(num_images: int) -> list[OccurringCounts]:
    rng = np.random.default_rng(1)
    hits = rng.integers(0, 3, (num_images, 3))
    iou = hits * rng.uniform(0.5, 1, (num_images, 3))
    others = rng.integers(0, 2, (num_images, 2, 3))
    dense = [PanopticCounts(i, h, *o) for i, h, o in zip(iou, hits, others, strict=True)]
    return [occurring_counts(counts) for counts in dense]


def test_pq_is_that_of_the_drawn_images() -> None:
    counts, draws = _counts(5), draw_images(5, 7)
    for row, value in zip(
        draws.astype(int), sampled_pq(counts_table(counts, 3), draws), strict=True
    ):
        drawn = [c for c, times in zip(counts, row, strict=True) for _ in range(times)]
        quality = panoptic_quality(total_counts(drawn, 3))
        assert value == pytest.approx(mean_quality(quality, np.ones(3, dtype=bool))[0])


def test_miou_is_that_of_the_drawn_images() -> None:
    rng = np.random.default_rng(2)
    matrices = [confusion_matrix(*rng.integers(0, 3, (2, 20)), 3) for _ in range(4)]
    matrices[0][2] = 0
    pixels = np.array([[m.diagonal(), m.sum(axis=1), m.sum(axis=0)] for m in matrices])
    draws = draw_images(4, 6)
    for row, value in zip(draws, sampled_miou(pixels, draws), strict=True):
        drawn = sum(m * times for m, times in zip(matrices, row, strict=True))
        assert value == pytest.approx(mean_scores(class_counts(drawn))["mIoU"])


def test_every_draw_has_as_many_images_as_the_set() -> None:
    assert draw_images(9, 4).sum(axis=1).tolist() == [9] * 4
    assert np.array_equal(draw_images(9, 4), draw_images(9, 4))


def test_intervals_hold_95_percent_and_skip_the_undefined() -> None:
    samples = np.append(np.arange(1001.0), np.nan)
    assert interval(samples) == (25, 975)
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_samples_around_the_value_give_the_middle_95_percent() -> None:
    samples = np.append(np.arange(1001.0), np.nan)
    assert corrected_interval(samples, 500.0) == pytest.approx((25, 975), abs=0.1)
    assert corrected_interval(np.full(9, 3.0), 3.0) == (3, 3)
    assert np.isnan(corrected_interval(np.array([np.nan]), np.nan)).all()


def test_an_interval_moves_away_from_the_side_to_which_samples_err() -> None:
    # 69.1 % of the samples lie above the value, half a standard deviation of the normal
    # distribution; so the levels are those at -1.96 - 1 and 1.96 - 1: 0.15 % and 83.1 %.
    samples = np.arange(10_001.0)
    assert corrected_interval(samples, 3085.0) == pytest.approx((15, 8314), abs=10)
    # None lies below: all but the lowest samples are too high.
    assert corrected_interval(samples, -1.0) == pytest.approx((0, 0), abs=1)


def test_a_run_against_itself_shows_no_difference() -> None:
    samples = sampled_pq(counts_table(_counts(20), 3), draw_images(20, 100))
    assert paired_test(samples, samples) == ((0, 0), 1)


def test_a_run_that_is_better_on_every_image_is_found() -> None:
    counts, draws = counts_table(_counts(20), 3), draw_images(20, 200)
    worse = counts.copy()
    worse[2] += 2  # false positives
    test = paired_test(sampled_pq(worse, draws), sampled_pq(counts, draws))
    assert test.difference.low > 0
    assert test.p_value == pytest.approx(2 / 201)
