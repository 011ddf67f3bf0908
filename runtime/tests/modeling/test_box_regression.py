from __future__ import annotations

import math

import pytest
import torch
from golden import Golden, exception_name

from detectron2.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    box_regression_loss,
)

WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("call", [0, 1, 2])
def test_deltas_and_boxes_are_the_recorded_ones(call: int) -> None:
    golden = Golden("box2box")
    transform = Box2BoxTransform(tuple(golden.params["calls"][call]))
    src, dst = golden.input("src"), golden.input("dst")
    deltas = transform.get_deltas(src, dst)
    golden.check(f"get{call}", deltas)
    golden.check(f"apply{call}", transform.apply_deltas(golden.input("deltas"), src))
    golden.check(f"roundtrip{call}", transform.apply_deltas(deltas, src))


def test_linear_deltas_are_the_recorded_ones() -> None:
    golden = Golden("box2box")
    transform = Box2BoxTransformLinear(normalize_by_size=True)
    src = golden.input("src")
    golden.check("lin_get", transform.get_deltas(src, golden.input("dst")))
    golden.check("lin_apply", transform.apply_deltas(golden.input("deltas")[:, :4], src))


def test_linear_deltas_lead_back_to_a_target_around_the_centre() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 8.0]])
    target = torch.tensor([[1.0, -3.0, 9.0, 5.0]])
    transform = Box2BoxTransformLinear()
    assert torch.equal(transform.apply_deltas(transform.get_deltas(box, target), box), target)


def test_default_clamp_precision_and_misuse_are_as_recorded() -> None:
    facts = Golden("box2box").json("facts")
    transform = Box2BoxTransform(WEIGHTS)
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    assert transform.scale_clamp == facts["clamp"]
    assert str(transform.apply_deltas(box.half(), box.half()).dtype) == facts["half_dtype"]
    flat = torch.tensor([[1.0, 0.0, 1.0, 4.0]])
    assert exception_name(lambda: transform.get_deltas(flat, box)) == facts["zero_width_src"]


def test_the_scale_of_a_box_is_clamped() -> None:
    transform = Box2BoxTransform(WEIGHTS, scale_clamp=math.log(3))
    boxes = transform.apply_deltas(torch.full((1, 4), 100.0), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))
    assert (boxes[:, 2:] - boxes[:, :2]).tolist() == [[pytest.approx(6)] * 2]


def test_no_boxes_give_no_deltas() -> None:
    none = torch.zeros(0, 4)
    for transform in (Box2BoxTransform(WEIGHTS), Box2BoxTransformLinear()):
        assert transform.get_deltas(none, none).shape == (0, 4)
        assert transform.apply_deltas(torch.zeros(0, 8), none).shape == (0, 8)


def test_linear_distances_in_pixels_ignore_negative_ones() -> None:
    transform = Box2BoxTransformLinear(normalize_by_size=False)
    box = torch.tensor([[0.0, 0.0, 4.0, 8.0]])  # centre (2, 4)
    target = torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    assert transform.get_deltas(box, target).tolist() == [[1, 3, 1, -1]]
    assert transform.apply_deltas(torch.tensor([[-1.0, 2, 3, 4]]), box).tolist() == [[2, 2, 5, 8]]


def test_smooth_l1_sums_over_the_deltas() -> None:
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    loss = box_regression_loss(
        Box2BoxTransform(WEIGHTS),
        box,
        torch.tensor([[1.0, -2.0, 0.0, 0.5]]),  # the target is the box: all deltas are 0
        box,
        loss_type="smooth_l1",
        smooth_l1_beta=1.0,
    )
    assert loss.item() == pytest.approx(0.5 + 1.5 + 0 + 0.125)


def test_giou_of_a_shifted_box() -> None:
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    loss = box_regression_loss(
        Box2BoxTransform(WEIGHTS),
        box,
        torch.tensor([[0.5, 0.0, 0.0, 0.0]]),  # one pixel to the right: IoU 2 / 6, hull 6
        box,
        loss_type="giou",
        smooth_l1_beta=0.0,
    )
    assert loss.item() == pytest.approx(1 - 1 / 3, rel=1e-5)


@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
def test_no_boxes_give_a_zero_loss_with_a_gradient(loss_type: str) -> None:
    deltas = torch.zeros(0, 4, requires_grad=True)
    none = torch.zeros(0, 4)
    loss = box_regression_loss(
        Box2BoxTransform(WEIGHTS), none, deltas, none, loss_type=loss_type, smooth_l1_beta=0.1
    )
    loss.backward()
    assert loss.item() == 0
    assert deltas.grad is not None


def test_an_unknown_loss_is_answered_with_the_known_ones() -> None:
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    with pytest.raises(ValueError, match=r"'huber' is unknown.*smooth_l1.*giou"):
        box_regression_loss(
            Box2BoxTransform(WEIGHTS), box, box, box, loss_type="huber", smooth_l1_beta=0.0
        )
