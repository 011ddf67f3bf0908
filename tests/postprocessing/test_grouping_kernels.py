"""The compiled loops of the grouping give what the tensor code gives, bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden

from seg_projects.postprocessing import center_grouping
from seg_projects.postprocessing.center_grouping import group_panoptic

pytest.importorskip("numba", reason="pip install -e .[fast]")

SETTINGS: dict[str, Any] = {
    "thing_ids": [1, 3],
    "label_divisor": 1000,
    "stuff_area": 5,
    "void_label": -1,
}


@pytest.fixture(params=[None, 0], ids=["tensors", "kernels"])
def path(request: Any, monkeypatch: Any) -> Any:
    """Both ways to group: without a limit on the size, the kernels take every map."""
    if request.param is not None:
        monkeypatch.setattr(center_grouping, "KERNELS_FROM", request.param)
    return request.param


@pytest.mark.parametrize(
    ("output", "threshold", "mask"),
    [("panoptic", 0.1, None), ("panoptic_fg", 0.1, "fg"), ("panoptic_none", 0.999, None)],
)
def test_both_give_the_recorded_map(
    path: Any, output: str, threshold: float, mask: str | None
) -> None:
    case = Golden("pdl_postprocess")
    panoptic, centers = group_panoptic(
        case.input("sem")[0],
        case.input("center")[0],
        case.input("offset"),
        thing_ids=case.params["thing_ids"],
        label_divisor=1000,
        stuff_area=40,
        void_label=-1,
        threshold=threshold,
        nms_kernel=7,
        top_k=20,
        foreground_mask=None if mask is None else case.input(mask)[0],
    )
    case.check(output, panoptic[None])
    if output == "panoptic":
        case.check("center_pts", centers[None])


def _both(monkeypatch: Any, *maps: torch.Tensor, **options: Any) -> None:
    monkeypatch.setattr(center_grouping, "KERNELS_FROM", 1 << 40)
    expected = group_panoptic(*maps, **SETTINGS, **options)
    monkeypatch.setattr(center_grouping, "KERNELS_FROM", 0)
    found = group_panoptic(*maps, **SETTINGS, **options)
    assert torch.equal(found.centers_yx, expected.centers_yx)
    assert found.panoptic.dtype == expected.panoptic.dtype
    assert torch.equal(found.panoptic, expected.panoptic)


@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0])
def test_random_maps_are_grouped_alike(monkeypatch: Any, scale: float) -> None:
    for _ in range(10):
        semantic = torch.randint(0, 5, (40, 50))
        # Few heights, so that some are equal and windows have plateaus.
        heatmap = torch.randint(0, 30, (40, 50)).float() / 29
        _both(monkeypatch, semantic, heatmap, scale * torch.randn(2, 40, 50), nms_kernel=5)
        foreground = torch.randint(0, 2, (40, 50))
        offsets = (scale * torch.randn(2, 40, 50)).round()  # many equal distances
        _both(monkeypatch, semantic, heatmap, offsets, foreground_mask=foreground, top_k=9)


def test_numbers_that_are_not_finite_are_grouped_alike(monkeypatch: Any) -> None:
    semantic = torch.ones(20, 20, dtype=torch.int64)
    heatmap, offsets = torch.rand(20, 20), torch.randn(2, 20, 20)
    heatmap[3, 3], heatmap[15, 4] = float("nan"), float("inf")
    offsets[0, 5], offsets[1, :, 7], offsets[0, 9] = float("nan"), float("inf"), 1e30
    _both(monkeypatch, semantic, heatmap, offsets)


def test_map_without_centres_or_things_is_grouped_alike(monkeypatch: Any) -> None:
    zeros = torch.zeros(6, 7)
    _both(monkeypatch, torch.ones(6, 7, dtype=torch.int64), zeros, torch.zeros(2, 6, 7))
    _both(monkeypatch, torch.zeros(6, 7, dtype=torch.int64), zeros + 1, torch.zeros(2, 6, 7))
