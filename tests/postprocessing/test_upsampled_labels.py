"""Labels of upsampled scores: equal to interpolate and argmax, on every path."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional as F

from seg_projects.postprocessing import upsampled_labels

SIZES = [(16, 24), (17, 23), (4, 6), (3, 5), (1, 1)]


@pytest.fixture(params=["compiled", "tensors"])
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tensors":
        name = "seg_projects.postprocessing.upsampled_labels_kernel"
        monkeypatch.setitem(sys.modules, name, None)
    else:
        pytest.importorskip("numba", reason="the extra `fast` is not installed")


def _smooth(classes: int, height: int, width: int) -> torch.Tensor:
    """Scores with regions of one class, and lines where three classes meet."""
    coarse = torch.randn(1, classes, 3, 3)
    return F.interpolate(coarse, size=(height, width), mode="bilinear")[0]


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [1, 5, 300])
@pytest.mark.parametrize("smooth", [True, False], ids=["regions", "noise"])
def test_labels_are_those_of_interpolated_scores(
    size: tuple[int, int], classes: int, smooth: bool
) -> None:
    scores = _smooth(classes, 4, 6) if smooth else torch.randn(classes, 4, 6)
    wanted = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    got = upsampled_labels(scores, size)
    assert got.dtype == (torch.int32 if classes > 256 else torch.uint8)
    # Where it differs, the two best scores are equal but for rounding.
    chosen = wanted.gather(0, got.long()[None])[0]
    torch.testing.assert_close(chosen, wanted.amax(dim=0), atol=1e-6, rtol=0)
    assert (got != wanted.argmax(dim=0)).float().mean() < 0.01


@pytest.mark.usefixtures("_path")
def test_scale_reads_the_upper_left_part() -> None:
    scores = _smooth(4, 5, 7)
    whole = F.interpolate(scores[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    got = upsampled_labels(scores, (18, 25), scale=(0.25, 0.25))
    assert torch.equal(got, whole[:, :18, :25].argmax(dim=0).to(torch.uint8))


@pytest.mark.usefixtures("_path")
def test_third_class_may_win_between_two() -> None:
    # Classes 0 and 1 win at a cell each, class 2 halfway: 0.6 is above 0.5.
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])[:, None]
    got = upsampled_labels(scores, (1, 9), scale=(1.0, 2 / 9))
    assert got.tolist() == [[0, 0, 0, 0, 2, 1, 1, 1, 1]]


def test_strips_of_other_devices_agree() -> None:
    scores = _smooth(5, 6, 8).double()
    got = upsampled_labels(scores, (24, 32))
    wanted = F.interpolate(scores[None], size=(24, 32), mode="bilinear")[0].argmax(dim=0)
    assert torch.equal(got, wanted.to(torch.uint8))


def test_scores_stay_as_they_are() -> None:
    scores = _smooth(5, 6, 8)
    before = scores.clone()
    upsampled_labels(scores, (24, 32))
    assert torch.equal(scores, before)
