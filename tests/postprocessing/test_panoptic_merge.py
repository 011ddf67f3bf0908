"""The merge against the recorded results of Detectron2 and a plain implementation."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_projects.postprocessing import merge_instances_and_stuff

LIMITS = {"overlap_threshold": 0.5, "stuff_area_limit": 2, "score_threshold": 0.5}

STUFF = {"id": 2, "isthing": False, "category_id": 2}


def _merge(
    masks: Tensor, scores: list[float], labels: Tensor, **limits: Any
) -> tuple[Tensor, list[dict[str, Any]]]:
    height, width = labels.shape
    boxes = torch.tensor([[0.0, 0.0, width, height]]).repeat(len(scores), 1)
    classes = torch.arange(len(scores))
    return merge_instances_and_stuff(
        masks, boxes, torch.tensor(scores), classes, labels, **(LIMITS | limits)
    )


def _masks(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool).view(len(rows), 1, -1)


def test_the_higher_score_is_in_front() -> None:
    masks = _masks([1, 1, 1, 0, 0], [0, 0, 1, 1, 1])
    panoptic, segments = _merge(masks, [0.8, 0.9], torch.zeros(1, 5, dtype=torch.long))
    assert panoptic.tolist() == [[2, 2, 1, 1, 1]]
    assert panoptic.dtype == torch.int32
    assert [(s["id"], s["instance_id"], s["category_id"]) for s in segments] == [
        (1, 1, 1),
        (2, 0, 0),
    ]


def test_an_instance_that_is_mostly_hidden_is_dropped() -> None:
    masks = _masks([1, 1, 1, 0], [0, 1, 1, 1])
    panoptic, segments = _merge(masks, [0.9, 0.8], torch.zeros(1, 4, dtype=torch.long))
    assert panoptic.tolist() == [[1, 1, 1, 0]]
    assert len(segments) == 1


def test_stuff_fills_what_is_free_from_its_area_limit_on() -> None:
    labels = torch.tensor([[1, 1, 1, 2, 0]])
    panoptic, segments = _merge(_masks([1, 0, 0, 0, 0]), [0.9], labels)
    assert panoptic.tolist() == [[1, 2, 2, 0, 0]]
    assert segments[1] == {"id": 2, "isthing": False, "category_id": 1, "area": 2}


def test_low_scores_and_empty_masks_are_left_out() -> None:
    panoptic, segments = _merge(
        _masks([1, 1, 0], [0, 0, 0]), [0.4, 0.9], torch.zeros(1, 3, dtype=torch.long)
    )
    assert not panoptic.any()
    assert segments == []


def test_no_instances_and_one_pixel() -> None:
    panoptic, segments = _merge(
        torch.zeros(0, 1, 1, dtype=torch.bool), [], torch.tensor([[3]]), stuff_area_limit=0
    )
    assert panoptic.tolist() == [[1]]
    assert [s["category_id"] for s in segments] == [3]


# A box within the image, and boxes that end at two of its sides each.
@pytest.mark.parametrize(
    "box", [(2.2, 3.1, 4.6, 5.9), (0.0, 0.4, 3.5, 2.0), (4.7, 5.2, 8.0, 8.0), (0.0, 0.0, 8.0, 8.0)]
)
def test_masks_are_seen_up_to_a_pixel_beyond_their_boxes(box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, max(0, int(y0) - 1) : ceil(y1) + 1, max(0, int(x0) - 1) : ceil(x1) + 1] = True
    one = (torch.tensor([box]), torch.tensor([0.9]), torch.tensor([5]))
    labels = torch.full((8, 8), 2)
    panoptic, segments = merge_instances_and_stuff(mask, *one, labels, **LIMITS)
    assert torch.equal(panoptic == 1, mask[0])
    assert segments[1:] == ([{**STUFF, "area": 64 - int(mask.sum())}] if not mask.all() else [])


def test_inputs_stay_as_they_are() -> None:
    masks, labels = _masks([1, 1, 0]), torch.tensor([[1, 1, 1]])
    _merge(masks, [0.9], labels)
    assert masks.tolist() == [[[True, True, False]]]
    assert labels.tolist() == [[1, 1, 1]]


def _recorded() -> Path:
    return Path(__file__).resolve().parents[3] / "shared/reference/golden/combine_panoptic.npz"


@pytest.mark.parametrize("variant", range(7))
def test_gives_detectron2s_recorded_result(variant: int) -> None:
    if not _recorded().is_file():
        pytest.skip("the recorded cases (../shared/reference/golden) are absent")
    with np.load(_recorded()) as case:
        params = json.loads(str(case["params"]))["variants"][variant]
        rows = params["use"]
        overlap, area, score = params["args"]
        masks = torch.from_numpy(case["in.masks"])[rows]
        scores = torch.from_numpy(case["in.scores"])[rows]
        classes = torch.from_numpy(case["in.classes"])[rows]
        labels = torch.from_numpy(case["in.semantic"])
        expected = case[f"out.seg{variant}"]
        segments_expected = json.loads(str(case["json.segments"]))[variant]
    height, width = labels.shape
    panoptic, segments = merge_instances_and_stuff(
        masks,
        torch.tensor([[0.0, 0.0, width, height]]).repeat(len(rows), 1),
        scores,
        classes,
        labels,
        overlap_threshold=overlap,
        stuff_area_limit=area,
        score_threshold=score,
    )
    assert np.array_equal(panoptic.numpy(), expected)
    assert segments == segments_expected
