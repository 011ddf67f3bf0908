"""Centres, grouping and majority vote: the recorded results, and maps that can be counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden

from seg_projects.postprocessing.center_grouping import (
    find_instance_centers,
    group_panoptic,
    group_pixels,
    merge_semantic_and_instance,
)
from seg_projects.postprocessing.nearest_center import nearest_center

MERGE: dict[str, Any] = {"label_divisor": 1000, "stuff_area": 40, "void_label": -1}


@pytest.fixture(scope="module")
def case() -> Golden:
    return Golden("pdl_postprocess")


def test_centers_are_the_recorded_ones(case: Golden) -> None:
    for number, (threshold, kernel, top_k) in enumerate(case.params["calls"]):
        heatmap = case.input("center")[0]
        centers = find_instance_centers(
            heatmap, threshold=threshold, nms_kernel=kernel, top_k=top_k
        )
        case.check(f"centers{number}", centers)
        assert torch.equal(heatmap, case.input("center")[0])


def test_grouping_and_merge_are_the_recorded_ones(case: Golden) -> None:
    semantic, offsets = case.input("sem")[0], case.input("offset")
    centers = torch.from_numpy(case.output("centers0").copy())
    everywhere = torch.ones_like(semantic, dtype=torch.bool)
    case.check("group", group_pixels(centers, offsets, everywhere)[None])
    thing_ids = case.params["thing_ids"]
    things = torch.isin(semantic, torch.tensor(thing_ids))
    instances = group_pixels(centers, offsets, things)
    case.check("inst", instances[None])
    merged = merge_semantic_and_instance(semantic, instances, things, thing_ids=thing_ids, **MERGE)
    case.check("merged", merged[None])


@pytest.mark.parametrize(
    ("output", "threshold", "mask"),
    [("panoptic", 0.1, None), ("panoptic_fg", 0.1, "fg"), ("panoptic_none", 0.999, None)],
)
def test_panoptic_map_is_the_recorded_one(
    case: Golden, output: str, threshold: float, mask: str | None
) -> None:
    panoptic, centers = group_panoptic(
        case.input("sem")[0],
        case.input("center")[0],
        case.input("offset"),
        thing_ids=case.params["thing_ids"],
        threshold=threshold,
        nms_kernel=7,
        top_k=20,
        foreground_mask=None if mask is None else case.input(mask)[0],
        **MERGE,
    )
    case.check(output, panoptic[None])
    if threshold < 0.5:
        case.check("center_pts", centers[None])
    else:
        assert centers.shape == (0, 2)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_nearest_center_is_that_of_brute_force(count: int) -> None:
    # Integer positions give many ties; some points lie far outside, one is not a number.
    y, x = torch.randint(-40, 140, (2, 5000)).float()
    y[0], x[1] = float("nan"), float("inf")
    centers = torch.randint(0, 100, (count, 2))
    points = torch.stack([y, x], dim=1)
    wanted = (centers[None] - points[:, None]).norm(dim=2).argmin(dim=1)
    assert torch.equal(nearest_center(y, x, centers), wanted)


def test_no_point_has_no_center() -> None:
    assert nearest_center(torch.empty(0), torch.empty(0), torch.ones(3, 2)).shape == (0,)


def test_first_of_equally_near_centers_counts() -> None:
    centers = torch.tensor([[0, 0], [0, 4]])
    everywhere = torch.ones(1, 5, dtype=torch.bool)
    assert group_pixels(centers, torch.zeros(2, 1, 5), everywhere).tolist() == [[1, 1, 1, 2, 2]]


def _merge(semantic: list[int], instances: list[int], stuff_area: int = 1) -> list[int]:
    labels, ids = torch.tensor([semantic]), torch.tensor([instances])
    settings = MERGE | {"stuff_area": stuff_area}
    return merge_semantic_and_instance(labels, ids, ids > 0, thing_ids=[1, 3], **settings)[
        0
    ].tolist()


def test_smallest_of_equally_frequent_classes_wins() -> None:
    assert _merge([1, 1, 3, 3], [2, 2, 2, 2]) == [1001] * 4


def test_instances_are_numbered_per_class_by_rising_id() -> None:
    assert _merge([3, 1, 3], [9, 4, 2]) == [3002, 1001, 3001]


@pytest.mark.parametrize(("area", "label"), [(2, 0), (3, -1)])
def test_small_stuff_is_void(area: int, label: int) -> None:
    # Class 0 has two pixels outside instances, class 2 three; the thing without a centre is void.
    assert _merge([0, 0, 2, 2, 2, 1], [0] * 6, area) == [label, label, 2000, 2000, 2000, -1]


def test_pixels_of_an_instance_are_no_stuff() -> None:
    assert _merge([2, 2, 1, 1, 1], [0, 5, 5, 5, 0], stuff_area=2) == [-1, 1001, 1001, 1001, -1]


def test_instances_are_cut_to_the_thing_mask() -> None:
    labels, ids = torch.tensor([[1, 1]]), torch.tensor([[4, 4]])
    mask = torch.tensor([[True, False]])
    merged = merge_semantic_and_instance(labels, ids, mask, thing_ids=[1], **MERGE)
    assert merged.tolist() == [[1001, -1]]


def test_map_may_be_smaller_than_top_k() -> None:
    centers = find_instance_centers(torch.full((2, 2), 0.3), threshold=0.1, top_k=200)
    assert centers.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_threshold_below_zero_finds_no_negative_center() -> None:
    assert len(find_instance_centers(torch.full((1, 3), -0.5), threshold=-1.0)) == 0


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4\), not \(H, W\)"):
        find_instance_centers(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="nms_kernel=4 is even"):
        find_instance_centers(torch.zeros(3, 4), nms_kernel=4)
