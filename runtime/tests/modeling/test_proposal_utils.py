from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from golden import Golden, exception_name

from detectron2.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    add_ground_truth_to_proposals_single_image,
    find_top_rpn_proposals,
)
from detectron2.structures import Boxes, Instances

SIZE = (20, 30)


def find(
    boxes: Sequence[Sequence[float]], logits: list[float], training: bool = False, **changes: Any
) -> Instances:
    """The proposals of one image with one level."""
    arguments = {"nms_thresh": 0.5, "pre_nms_topk": 10, "post_nms_topk": 10, "min_box_size": 0.0}
    (result,) = find_top_rpn_proposals(
        [torch.tensor(boxes).view(1, -1, 4)],
        [torch.tensor(logits).view(1, -1)],
        [SIZE],
        **{**arguments, **changes},
        training=training,
    )
    return result


def proposals(num: int = 2, **fields: Any) -> Instances:
    boxes = torch.arange(4.0 * num).view(num, 4)
    return Instances(
        SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(num), **fields
    )


def ground_truth(**fields: Any) -> Instances:
    return Instances(SIZE, gt_boxes=Boxes(torch.tensor([[1.0, 2, 3, 4]])), **fields)


def test_proposals_are_the_recorded_ones() -> None:
    golden = Golden("find_top_rpn_proposals")
    boxes = [golden.input("p0"), golden.input("p1")]
    logits = [golden.input("l0"), golden.input("l1")]
    sizes = [tuple(size) for size in golden.params["sizes"]]
    before = [tensor.clone() for tensor in (*boxes, *logits)]
    results = find_top_rpn_proposals(boxes, logits, sizes, 0.7, 30, 15, 3.0, False)
    for index, result in enumerate(results):
        golden.check(f"boxes{index}", result.proposal_boxes.tensor)
        golden.check(f"scores{index}", result.objectness_logits)
    facts = golden.json("facts")
    assert list(results[1].image_size) == facts["image_size"]
    for tensor, copy in zip((*boxes, *logits), before, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0, equal_nan=True)
    error = exception_name(
        lambda: find_top_rpn_proposals(boxes, logits, sizes, 0.7, 30, 15, 3.0, True)
    )
    assert error == facts["training_nonfinite"]


def test_overlapping_boxes_of_a_level_are_dropped() -> None:
    result = find([[0, 0, 10, 10], [0, 0, 10, 9], [15, 0, 25, 10]], [1.0, 2.0, 0.0])
    assert result.objectness_logits.tolist() == [2, 0]


def test_levels_do_not_suppress_each_other() -> None:
    box = torch.tensor([[[0.0, 0, 10, 10]]])
    (result,) = find_top_rpn_proposals(
        [box, box], [torch.zeros(1, 1), torch.ones(1, 1)], [SIZE], 0.5, 5, 5, 0.0, False
    )
    assert result.objectness_logits.tolist() == [1, 0]


def test_candidates_are_limited_before_and_after_suppression() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [15, 0, 25, 10], [0, 12, 5, 20]]
    logits = [4.0, 3.0, 2.0, 1.0]
    assert find(boxes, logits, pre_nms_topk=2).objectness_logits.tolist() == [4]
    assert find(boxes, logits, pre_nms_topk=3).objectness_logits.tolist() == [4, 2]
    assert find(boxes, logits, post_nms_topk=2).objectness_logits.tolist() == [4, 2]


def test_boxes_are_clipped_before_their_size_counts() -> None:
    result = find([[-5, -5, 2, 100], [25, 10, 60, 12], [28, 0, 90, 10]], [3.0, 2.0, 1.0])
    assert result.proposal_boxes.tensor.tolist() == [
        [0, 0, 2, 20],
        [25, 10, 30, 12],
        [28, 0, 30, 10],
    ]
    assert not len(find([[-5, -5, 2, 100], [28, 0, 90, 10]], [3.0, 2.0], min_box_size=2.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_only_training_refuses_what_is_not_finite(bad: float) -> None:
    boxes = [[0.0, 0, 10, 10], [15, 0, 25, bad]]
    assert find(boxes, [0.0, 1.0]).objectness_logits.tolist() == [0]
    assert find([[0, 0, 10, 10], [15, 0, 25, 5]], [0.0, bad]).objectness_logits.tolist() == [0]
    with pytest.raises(FloatingPointError, match="training has diverged"):
        find(boxes, [0.0, 1.0], training=True)


def test_an_image_may_have_no_proposals() -> None:
    cases: list[list[list[float]]] = [[], [[5, 5, 5, 9]], [[40, 0, 50, 10]]]
    for boxes in cases:
        result = find(boxes, [0.0] * len(boxes))
        assert result.proposal_boxes.tensor.shape == (0, 4)
        assert result.objectness_logits.shape == (0,)


def test_equal_scores_keep_the_order_of_the_boxes() -> None:
    boxes = [[0, 0, 5, 5], [6, 0, 11, 5], [12, 0, 17, 5]]
    assert find(boxes, [1.0, 1.0, 1.0]).proposal_boxes.tensor.tolist() == boxes


def test_ground_truth_follows_the_proposals_with_a_high_score() -> None:
    (result,) = add_ground_truth_to_proposals([ground_truth()], [proposals()])
    assert result.proposal_boxes.tensor[2].tolist() == [1, 2, 3, 4]
    assert result.objectness_logits.tolist() == [0, 0, pytest.approx(23.02585)]
    assert set(result.get_fields()) == {"proposal_boxes", "objectness_logits"}


def test_ground_truth_may_be_boxes() -> None:
    result = add_ground_truth_to_proposals_single_image(ground_truth().gt_boxes, proposals())
    assert len(result) == 3
    assert not result.has("gt_boxes")


def test_no_ground_truth_and_no_proposals_are_fine() -> None:
    none = Boxes(torch.zeros(0, 4))
    assert len(add_ground_truth_to_proposals_single_image(none, proposals(0))) == 0
    assert len(add_ground_truth_to_proposals_single_image(none, proposals(2))) == 2
    assert add_ground_truth_to_proposals([], []) == []


def test_further_fields_come_from_the_ground_truth() -> None:
    before = proposals(gt_classes=torch.tensor([3, 4]))
    gt = ground_truth(gt_classes=torch.tensor([7]))
    result = add_ground_truth_to_proposals_single_image(gt, before)
    assert result.gt_classes.tolist() == [3, 4, 7]
    with pytest.raises(AssertionError, match="'gt_classes' is missing in the ground truth"):
        add_ground_truth_to_proposals_single_image(ground_truth(), before)


def test_both_must_be_of_the_same_images() -> None:
    with pytest.raises(ValueError, match="ground truth of 1 images, proposals of 2"):
        add_ground_truth_to_proposals([ground_truth()], [proposals(), proposals()])
