"""Boxes, their modes and their overlaps."""

import copy
import pickle

import numpy as np
import pytest
import torch
from golden import Golden, exception_name

from detectron2.structures import (
    Boxes,
    BoxMode,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from detectron2.structures.boxes import matched_pairwise_iou, pairwise_intersection

XYXY, XYWH, XYWHA = BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS


@pytest.fixture
def golden() -> Golden:
    return Golden("boxes_ops")


def test_measures_equal_the_recorded_ones(golden: Golden) -> None:
    boxes, size = Boxes(golden.input("boxes")), golden.params["size"]
    golden.check("area", boxes.area())
    golden.check("centers", boxes.get_centers())
    golden.check("nonempty0", boxes.nonempty(0.0))
    golden.check("nonempty3", boxes.nonempty(3.0))
    golden.check("inside", boxes.inside_box(size))
    golden.check("inside5", boxes.inside_box(size, 5))


def test_clip_and_scale_change_the_boxes_as_recorded(golden: Golden) -> None:
    boxes = Boxes(golden.input("boxes"))
    clipped, scaled = boxes.clone(), boxes.clone()
    clipped.clip(golden.params["size"])
    scaled.scale(*golden.params["scale"])
    golden.check("clipped", clipped.tensor)
    golden.check("scaled", scaled.tensor)
    assert torch.equal(boxes.tensor, golden.input("boxes"))


def test_indexing_and_joining_give_the_recorded_boxes(golden: Golden) -> None:
    boxes, others = Boxes(golden.input("boxes")), Boxes(golden.input("boxes2"))
    golden.check("by_mask", boxes[golden.input("mask")].tensor)
    golden.check("by_index", boxes[golden.input("index")].tensor)
    golden.check("by_int", boxes[2].tensor)
    golden.check("by_slice", boxes[1:4].tensor)
    golden.check("cat", Boxes.cat([boxes, others]).tensor)


def test_overlaps_and_distances_equal_the_recorded_ones(golden: Golden) -> None:
    boxes, others = Boxes(golden.input("boxes")), Boxes(golden.input("boxes2"))
    golden.check("iou", pairwise_iou(boxes, others))
    golden.check("ioa", pairwise_ioa(boxes, others))
    golden.check("point_dist", pairwise_point_box_distance(golden.input("points"), others))


def test_facts_are_the_recorded_ones(golden: Golden) -> None:
    boxes = Boxes(golden.input("boxes"))
    golden.check_json(
        "facts",
        {
            "len": len(boxes),
            "empty_cat_shape": list(Boxes.cat([]).tensor.shape),
            "empty_shape": list(Boxes([]).tensor.shape),
            "dtype_from_int": str(Boxes(torch.tensor([[1, 2, 3, 4]])).tensor.dtype),
            "iter_shape": list(next(iter(boxes)).shape),
            "bad_shape": exception_name(lambda: Boxes(torch.zeros(2, 3))),
            "repr": repr(Boxes(torch.tensor([[0.0, 1, 2, 3]]))),
            "clip_nonfinite": exception_name(
                lambda: Boxes(torch.tensor([[0.0, 1, float("inf"), 3]])).clip((4, 4))
            ),
        },
    )


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4)), torch.zeros(0), torch.zeros(0, 4)])
def test_no_boxes_have_shape_zero_by_four(empty: object) -> None:
    boxes = Boxes(empty)
    boxes.clip((5, 5))
    assert boxes.tensor.shape == (0, 4)
    assert boxes.area().shape == boxes.nonempty().shape == (0,)
    assert pairwise_iou(boxes, Boxes([[0, 0, 1, 1]])).shape == (0, 1)


def test_wraps_a_float32_tensor_without_a_copy() -> None:
    tensor = torch.rand(2, 4)
    assert Boxes(tensor).tensor is tensor
    assert Boxes(tensor).clone().tensor is not tensor


def test_scale_writes_into_the_tensor_and_clip_does_not() -> None:
    tensor = torch.tensor([[1.0, 1, 9, 9]])
    boxes = Boxes(tensor)
    boxes.clip((4, 6))
    assert tensor.tolist() == [[1, 1, 9, 9]]
    Boxes(tensor).scale(2, 3)
    assert tensor.tolist() == [[2, 3, 18, 27]]
    assert boxes.tensor.tolist() == [[1, 1, 6, 4]]


def test_clip_passes_gradients() -> None:
    tensor = torch.tensor([[1.0, -1, 9, 3]], requires_grad=True)
    boxes = Boxes(tensor)
    boxes.clip((4, 6))
    boxes.tensor.sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.tolist() == [[1, 0, 0, 1]]


def test_an_index_that_leaves_no_matrix_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"shape \(4,\); index with"):
        Boxes(torch.zeros(2, 4))[torch.tensor(1)]


def test_cat_of_something_else_names_its_type() -> None:
    with pytest.raises(AssertionError, match="Tensor"):
        Boxes.cat([torch.zeros(1, 4)])


def test_boxes_survive_pickling_and_copying() -> None:
    boxes = Boxes([[1, 2, 3, 4]])
    for twin in (pickle.loads(pickle.dumps(boxes)), copy.deepcopy(boxes), boxes.to("cpu")):
        assert torch.equal(twin.tensor, boxes.tensor)


def test_overlap_of_boxes_without_area_is_zero_in_pairs_and_nan_when_matched() -> None:
    points = Boxes([[0, 0, 0, 0], [3, 3, 3, 9]])
    for ratio in (pairwise_iou, pairwise_ioa, pairwise_intersection):
        assert ratio(points, points).tolist() == [[0, 0], [0, 0]]
    assert matched_pairwise_iou(points, points).isnan().all()


def test_matched_iou_is_the_diagonal_of_the_pairwise_one() -> None:
    first = Boxes([[0, 0, 10, 10], [5, 5, 8, 20]])
    second = Boxes([[5, 0, 10, 10], [5, 5, 8, 10]])
    # The half of the first box; 5 of 15 rows of the second.
    assert matched_pairwise_iou(first, second).tolist() == pytest.approx([1 / 2, 1 / 3])
    assert pairwise_iou(first, second).diagonal().tolist() == pytest.approx([1 / 2, 1 / 3])


def test_matched_iou_wants_pairs() -> None:
    with pytest.raises(AssertionError, match="2 and 0"):
        matched_pairwise_iou(Boxes(torch.zeros(2, 4)), Boxes([]))


def test_conversions_equal_the_recorded_ones() -> None:
    golden = Golden("boxmode")
    xyxy = golden.input("xyxy")
    xywh = BoxMode.convert(xyxy, XYXY, XYWH)
    golden.check("xywh", xywh)
    golden.check("xyxy_back", BoxMode.convert(xywh, XYWH, XYXY))
    golden.check("xywh_np", BoxMode.convert(xyxy.numpy(), XYXY, XYWH))
    golden.check("from_xywha", BoxMode.convert(golden.input("xywha"), XYWHA, XYXY))
    assert torch.equal(xyxy, golden.input("xyxy"))


def test_facts_of_box_modes_are_the_recorded_ones() -> None:
    golden = Golden("boxmode")
    array = golden.input_array("xyxy")
    converted = BoxMode.convert(array, XYXY, XYWH)
    golden.check_json(
        "facts",
        {
            "values": {mode.name: mode.value for mode in BoxMode},
            "list": BoxMode.convert([1.0, 2.0, 3.0, 5.0], XYWH, XYXY),
            "tuple_type": type(BoxMode.convert((1.0, 2.0, 3.0, 5.0), XYWH, XYXY)).__name__,
            "list_type": type(BoxMode.convert([1.0, 2.0, 3.0, 5.0], XYWH, XYXY)).__name__,
            "np_type": type(converted).__name__,
            "np_dtype": str(converted.dtype),
            "rel": exception_name(lambda: BoxMode.convert([0.0, 0, 1, 1], BoxMode.XYXY_REL, XYXY)),
            "same_is_same": BoxMode.convert(array, XYXY, XYXY) is array,
        },
    )


def test_a_list_of_integers_stays_one() -> None:
    assert BoxMode.convert((1, 2, 3, 5), XYXY, XYWH) == (1, 2, 2, 3)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_conversion_keeps_the_dtype_of_an_array(dtype: type) -> None:
    converted = BoxMode.convert(np.array([[1, 2, 3, 5]], dtype=dtype), XYXY, XYWH)
    assert converted.dtype == dtype
    assert converted.tolist() == [[1, 2, 2, 3]]


def test_a_turned_box_has_its_corners_in_the_new_one() -> None:
    # 4 x 2 around (5, 5), turned by 90 degrees, is 2 x 4.
    assert BoxMode.convert([5, 5, 4, 2, 90.0], XYWHA, XYXY) == pytest.approx([4, 3, 6, 7])
    assert BoxMode.convert([3, 4, 4, 2], XYWH, XYWHA) == [5, 5, 4, 2, 0]


def test_an_unknown_conversion_names_both_modes() -> None:
    with pytest.raises(NotImplementedError, match=r"XYXY_ABS.* to .*XYWHA_ABS"):
        BoxMode.convert([0, 0, 1, 1], XYXY, XYWHA)


def test_a_box_of_three_numbers_is_refused() -> None:
    with pytest.raises(AssertionError, match="3 numbers"):
        BoxMode.convert([0, 0, 1], XYXY, XYWH)
