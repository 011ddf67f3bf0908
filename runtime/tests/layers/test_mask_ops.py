"""Pasting masks of boxes into images."""

import math

import pytest
import torch
from golden import Golden

from detectron2.layers import mask_ops, paste_masks_in_image
from detectron2.layers.mask_ops import pad_masks, paste_mask_in_image_old, scale_boxes
from detectron2.structures import Boxes

ONES = torch.ones(1, 4, 4)


@pytest.mark.parametrize(("name", "threshold"), [("bool", 0.5), ("bool3", 0.3), ("uint8", -1)])
def test_pasted_masks_equal_the_recorded_ones(name: str, threshold: float) -> None:
    golden = Golden("paste_masks")
    masks, boxes = golden.input("masks"), golden.input("boxes")
    height, width = golden.params["size"]
    golden.check(name, paste_masks_in_image(masks, Boxes(boxes), (height, width), threshold))
    golden.check(name, paste_masks_in_image(masks, boxes, (height, width), threshold))
    golden.check(name, mask_ops._paste_at_once(masks, boxes, height, width, threshold))


def test_no_masks_paste_as_recorded() -> None:
    golden = Golden("paste_masks")
    pasted = paste_masks_in_image(torch.zeros(0, 28, 28), Boxes([]), tuple(golden.params["size"]))
    golden.check_json(
        "facts", {"empty_shape": list(pasted.shape), "empty_dtype": str(pasted.dtype)}
    )


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.3, 0.5, 1.0])
def test_all_at_once_equals_one_by_one(threshold: float) -> None:
    masks = torch.rand(5, 7, 7)
    boxes = torch.tensor(
        [[1, 2, 30, 25], [-9, -9, 5, 50], [3, 3, 3, 9], [60, 60, 70, 70], [9, 9, 2, 2.0]]
    )
    one_by_one = paste_masks_in_image(masks, boxes, (40, 33), threshold)
    at_once = mask_ops._paste_at_once(masks, boxes, 40, 33, threshold)
    assert one_by_one.dtype == at_once.dtype
    assert (one_by_one.int() - at_once.int()).abs().max() <= (threshold < 0)


def test_sampling_is_bilinear_around_pixel_centers() -> None:
    # Two pixels of the image per pixel of the mask: the centers are at a quarter and three.
    mask = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    soft = paste_masks_in_image(mask, torch.tensor([[0.0, 0, 4, 4]]), (4, 4), -1)
    assert soft[0, 1].tolist() == [0, int(0.25 * 255), int(0.75 * 255), int(0.75 * 255)]


@pytest.mark.parametrize(
    "box", [[5, 5, 5, 9], [6, 5, 4, 9], [-50, -50, -40, -40], [50, 50, 60, 60], [math.nan] * 4]
)
def test_a_box_without_area_in_the_image_stays_empty(box: list[float]) -> None:
    assert not paste_masks_in_image(ONES, torch.tensor([box]).float(), (12, 12)).any()


def test_a_threshold_of_zero_sets_the_box_and_a_pixel_around_it() -> None:
    pasted = paste_masks_in_image(ONES, torch.tensor([[2.0, 2, 10, 10]]), (12, 12), 0)
    assert pasted.sum() == 10 * 10
    assert not pasted[0, 0].any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.float64])
def test_masks_of_any_type_paste_alike(dtype: torch.dtype) -> None:
    box = torch.tensor([[2.0, 2, 6, 6]])
    pasted = paste_masks_in_image(ONES.to(dtype), box, (8, 8))
    assert torch.equal(pasted, paste_masks_in_image(ONES, box, (8, 8)))


def test_autocast_does_not_shift_edges() -> None:
    masks, box = torch.rand(1, 28, 28), torch.tensor([[0.0, 0, 61, 47]])
    expected = paste_masks_in_image(masks, box, (48, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paste_masks_in_image(masks, box, (48, 64)), expected)


def test_inputs_are_left_alone() -> None:
    masks, boxes = torch.rand(1, 4, 4), torch.tensor([[-2.0, 1, 5, 9]])
    copies = masks.clone(), boxes.clone()
    paste_masks_in_image(masks, boxes, (6, 6))
    assert torch.equal(masks, copies[0])
    assert torch.equal(boxes, copies[1])


def test_oblong_masks_and_missing_boxes_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"not \(1, 4, 3\)"):
        paste_masks_in_image(ONES[:, :, :3], torch.zeros(1, 4), (8, 8))
    with pytest.raises(AssertionError, match="1 masks want as many boxes, not 2"):
        paste_masks_in_image(ONES, torch.zeros(2, 4), (8, 8))


@pytest.mark.gpu
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5])
def test_a_gpu_pastes_what_the_cpu_does(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_ops, "GPU_MEM_LIMIT", 40 * 33 * 4 * 2)  # Two masks at a time.
    masks, boxes = torch.rand(5, 28, 28), torch.rand(5, 4) * 15 + torch.tensor([0, 0, 16, 20])
    expected = paste_masks_in_image(masks, boxes, (40, 33), threshold)
    pasted = paste_masks_in_image(masks.cuda(), boxes.cuda(), (40, 33), threshold).cpu()
    assert pasted.dtype == expected.dtype
    assert (pasted.int() - expected.int()).abs().max() <= (threshold < 0)


def test_the_old_way_covers_whole_pixels_with_both_ends() -> None:
    pasted = paste_mask_in_image_old(
        torch.ones(4, 4), torch.tensor([1.2, 2.7, 5.1, 6.9]), 8, 9, 0.5
    )
    expected = torch.zeros(8, 9, dtype=torch.uint8)
    expected[2:7, 1:6] = 1
    assert torch.equal(pasted, expected)


def test_the_old_way_cuts_at_the_image_and_keeps_soft_values() -> None:
    box = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    pasted = paste_mask_in_image_old(torch.full((3, 3), 0.5), box, 3, 3, -1)
    assert pasted.tolist() == [[127, 127, 0], [127, 127, 0], [0, 0, 0]]
    assert not paste_mask_in_image_old(torch.ones(2, 2), box + 9, 3, 3, 0.5).any()


def test_padding_grows_masks_and_boxes_alike() -> None:
    padded, scale = pad_masks(torch.ones(1, 3, 3), 1)
    assert scale == pytest.approx(5 / 3)
    assert padded.sum(dim=(1, 2)).tolist() == [9]
    assert padded.shape == (1, 5, 5)
    # 3 pixels wide around 2.5 become 5.
    boxes = scale_boxes(torch.tensor([[1.0, 1, 4, 4]]), scale)
    assert boxes[0].tolist() == pytest.approx([0, 0, 5, 5])
