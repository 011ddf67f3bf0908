"""ROIAlign, suppression, box losses and small functions."""

import subprocess
import sys

import pytest
import torch
from golden import Golden

from detectron2.layers import (
    ROIAlign,
    ShapeSpec,
    batched_nms,
    cat,
    ciou_loss,
    cross_entropy,
    diou_loss,
    empty_input_loss_func_wrapper,
    move_device_like,
    nms,
    nonzero_tuple,
    roi_align,
    shapes_to_tensor,
)
from detectron2.layers.wrappers import check_if_dynamo_compiling, disable_torch_compiler


@pytest.mark.parametrize("number", range(5))
def test_roi_align_equals_the_recorded_one(number: int) -> None:
    golden = Golden("roi_align")
    size, *settings = golden.params["calls"][number]
    pooled = ROIAlign(tuple(size), *settings)(golden.input("x"), golden.input("rois"))
    golden.check(f"call{number}", pooled)
    again = roi_align(golden.input("x"), golden.input("rois"), tuple(size), *settings)
    assert torch.equal(pooled, again)


def test_roi_align_takes_no_boxes_and_boxes_of_another_dtype() -> None:
    pool, x = ROIAlign(2, 0.5, 0), torch.ones(1, 3, 8, 8, dtype=torch.float64)
    assert pool(x, torch.zeros(0, 5)).shape == (0, 3, 2, 2)
    pooled = pool(x, torch.tensor([[0.0, 4, 4, 8, 8]]))
    assert pooled.dtype == torch.float64
    assert torch.equal(pooled, torch.ones_like(pooled))


def test_roi_align_wants_the_index_of_the_image() -> None:
    with pytest.raises(AssertionError, match=r"\(R, 5\) boxes, not \(2, 4\)"):
        ROIAlign(2, 0.5, 0)(torch.zeros(1, 3, 8, 8), torch.zeros(2, 4))


def test_suppression_equals_the_recorded_one() -> None:
    golden = Golden("nms")
    boxes, scores, ids = (golden.input(name) for name in ("boxes", "scores", "idxs"))
    for number, threshold in enumerate(golden.params["ious"]):
        golden.check(f"batched{number}", batched_nms(boxes, scores, ids, threshold))
        golden.check(f"nms{number}", nms(boxes, scores, threshold))
    golden.check("empty", batched_nms(boxes[:0], scores[:0], ids[:0], 0.5))


def test_suppression_keeps_categories_apart_in_half_precision() -> None:
    # The offset of category 1000 is beyond what float16 resolves.
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [1, 1, 9, 9]], dtype=torch.float16)
    scores, ids = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1000, 1000])
    assert batched_nms(boxes, scores, ids, 0.5).tolist() == [0, 1]


def test_suppression_wants_four_coordinates() -> None:
    with pytest.raises(AssertionError, match=r"not \(2, 5\)"):
        batched_nms(torch.zeros(2, 5), torch.zeros(2), torch.zeros(2), 0.5)


def test_box_losses_equal_the_recorded_ones() -> None:
    golden = Golden("layers_misc")
    first, second = golden.input("b1"), golden.input("b2")
    golden.check("ciou", ciou_loss(first, second))
    golden.check("diou", diou_loss(first, second))
    golden.check("ciou_sum", ciou_loss(first, second, reduction="sum"))
    golden.check("diou_mean", diou_loss(first, second, reduction="mean"))


@pytest.mark.parametrize("loss", [ciou_loss, diou_loss])
def test_the_mean_loss_of_no_boxes_is_zero_with_a_gradient(loss: type) -> None:
    boxes = torch.zeros(0, 4, requires_grad=True)
    value = loss(boxes, torch.zeros(0, 4), reduction="mean")
    value.backward()
    assert value == 0
    assert boxes.grad is not None


def test_small_functions_behave_as_recorded() -> None:
    facts = Golden("layers_misc").json("facts")
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == facts["empty_ce"]
    assert logits.grad is not None
    pairs = nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))
    assert [indices.tolist() for indices in pairs] == facts["nonzero"]
    assert vars(ShapeSpec(channels=3)) == facts["shapespec_fields"]


def test_a_loss_of_elements_is_that_of_torch() -> None:
    logits, target = torch.rand(4, 3), torch.tensor([0, 1, 2, 1])
    expected = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    assert torch.equal(cross_entropy(logits, target, label_smoothing=0.1), expected)
    assert cross_entropy(logits, target, reduction="none").shape == (4,)
    assert cross_entropy(logits[:0], target[:0], reduction="sum") == 0


def test_any_loss_can_be_made_safe_for_no_elements() -> None:
    loss = empty_input_loss_func_wrapper(torch.nn.functional.mse_loss)
    assert loss(torch.zeros(0), torch.zeros(0)) == 0
    assert loss(torch.ones(2), torch.zeros(2)) == 1


def test_a_scalar_counts_as_one_element() -> None:
    assert [indices.tolist() for indices in nonzero_tuple(torch.tensor(True))] == [[0]]


def test_cat_of_one_is_the_tensor_itself() -> None:
    tensor = torch.rand(2, 3)
    assert cat([tensor]) is tensor
    assert cat([tensor, tensor], dim=1).shape == (2, 6)
    with pytest.raises(AssertionError, match="not a Tensor"):
        cat(tensor)


def test_sizes_and_devices_become_tensors() -> None:
    assert shapes_to_tensor([2, 3]).tolist() == [2, 3]
    assert move_device_like(torch.ones(1), torch.ones(1)).device == torch.device("cpu")


def test_sizes_stay_in_the_graph_of_a_trace() -> None:
    traced = torch.jit.trace(lambda x: shapes_to_tensor([*x.shape]) + 0 * x.sum(), torch.ones(2, 3))
    assert traced(torch.ones(4, 5)).tolist() == [4, 5]


def test_shape_specs_compare_by_value() -> None:
    assert ShapeSpec(1, 2, 3, 4) == ShapeSpec(channels=1, height=2, width=3, stride=4)
    assert ShapeSpec(1) != ShapeSpec(2)


def test_a_disabled_function_stays_out_of_the_compiler() -> None:
    compiling = []

    @disable_torch_compiler
    def inner(x: torch.Tensor) -> torch.Tensor:
        compiling.append(check_if_dynamo_compiling())
        return x + 1

    outer = torch.compile(lambda x: inner(x * 2) * 3, backend="eager")
    assert outer(torch.ones(1)).item() == 9
    assert inner(torch.ones(1)).item() == 2
    assert compiling == [False, False]


def test_importing_layers_and_structures_leaves_heavy_libraries_alone() -> None:
    code = (
        "import sys, torch, detectron2.layers, detectron2.structures;"
        "print([m for m in ('torchvision', 'torch._dynamo', 'matplotlib', 'pycocotools', 'cv2',"
        " 'scipy') if m in sys.modules])"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.strip() == "[]"
