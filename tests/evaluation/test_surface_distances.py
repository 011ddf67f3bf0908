"""Surface distances against their definitions, scipy and, where it is installed, medpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_projects.evaluation.surface_distances import surface, surface_counts, surface_distances

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2)
)
SPACINGS = st.sampled_from([(1.0, 1.0), (0.5, 2.0), (3.0, 0.7)])


@settings(max_examples=150, deadline=None)
@given(MASKS, SPACINGS)
def test_distances_equal_all_pairs_of_outline_pixels(
    masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float]
) -> None:
    points = [surface(mask) * spacing for mask in masks]
    found = surface_distances(*masks, spacing)
    if not all(map(len, points)):
        assert all(math.isnan(value) for value in found)
        return
    pairs = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    pooled = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])
    expected = (pooled.max(), np.percentile(pooled, 95), pooled.mean())
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(MASKS, SPACINGS)
def test_distances_equal_those_of_medpy(
    masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float]
) -> None:
    binary = pytest.importorskip("medpy.metric.binary", reason="medpy is an independent check")
    if not all(mask.any() for mask in masks):
        return
    found = surface_distances(*masks, spacing)
    directed = [binary.asd(a, b, spacing) for a, b in (masks, masks[::-1])]
    pixels = [len(surface(mask)) for mask in masks]
    assert found.maximum == pytest.approx(binary.hd(*masks, spacing))
    assert found.percentile_95 == pytest.approx(binary.hd95(*masks, spacing))
    assert found.average == pytest.approx(np.average(directed, weights=pixels))


def test_large_masks_equal_scipys_distance_transform() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is an independent check")
    rng = np.random.default_rng(0)
    masks = [ndimage.gaussian_filter(rng.normal(size=(150, 90)), 5) > 0 for _ in range(2)]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    far = [ndimage.distance_transform_edt(~edge, sampling=(0.4, 1.5)) for edge in edges]
    pooled = np.concatenate([far[1][edges[0]], far[0][edges[1]]])
    found = surface_distances(masks[0], masks[1], (0.4, 1.5))
    expected = (pooled.max(), np.percentile(pooled, 95), pooled.mean())
    assert found == pytest.approx(expected, abs=1e-12)


def test_two_pixels_apart_in_millimetres() -> None:
    first, second = np.zeros((2, 5, 9), dtype=bool)
    first[1, 1] = second[4, 5] = True
    # Three rows of 2 mm and four columns of 0.5 mm.
    assert surface_distances(first, second, (2, 0.5)) == (math.hypot(6, 2),) * 3


def test_counts_tell_one_sided_classes_and_leave_out_absent_ones() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 0, 255, 255]])
    predicted = np.array([[0, 0, 0, 2], [0, 0, 2, 2]])
    counts = surface_counts(truth, predicted, 4)
    diagonal = math.hypot(2, 4)
    # Class 0 gains one pixel at distance 1; 1 is missed, 2 invented, 3 nowhere.
    # Nine distances, eight of them 0: the 95th percentile is at 0.95 * 8 = 7.6, between 0 and 1.
    assert counts[:, 0].tolist() == pytest.approx([1, 1, 0.6, 1 / 9, 0, 0])
    assert counts[:, 1].tolist() == counts[:, 2].tolist() == [0, 0, 0, 0, 1, diagonal]
    assert not counts[:, 3].any()


def test_counts_are_in_the_unit_of_the_spacing() -> None:
    truth, predicted = np.zeros((2, 4, 5), dtype=int)
    truth[0, 0] = predicted[3, 4] = 1
    predicted[0, 4] = 2
    counts = surface_counts(truth, predicted, 3, (2, 0.5))
    distance, diagonal = math.hypot(3 * 2, 4 * 0.5), math.hypot(4 * 2, 5 * 0.5)
    assert counts[:, 1].tolist() == pytest.approx([1, distance, distance, distance, 0, 0])
    assert counts[:, 2].tolist() == pytest.approx([0, 0, 0, 0, 1, diagonal])
