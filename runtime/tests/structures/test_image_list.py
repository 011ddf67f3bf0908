"""Images of several sizes in one batch."""

import pytest
import torch
from golden import Golden, exception_name

from detectron2.structures import ImageList


def test_batches_equal_the_recorded_ones() -> None:
    golden = Golden("image_list")
    images = [golden.input(f"img{i}") for i in range(3)]
    facts = {
        "single_no_pad_shape": list(ImageList.from_tensors(images[:1]).tensor.shape),
        "not_list": exception_name(lambda: ImageList.from_tensors(images[0])),
    }
    for number, keywords in enumerate(golden.params["calls"]):
        batch = ImageList.from_tensors(images, **keywords)
        golden.check(f"call{number}", batch.tensor)
        facts[f"call{number}"] = {
            "sizes": [list(size) for size in batch.image_sizes],
            "len": len(batch),
            "item_shapes": [list(batch[i].shape) for i in range(3)],
        }
    facts["size_item_type"] = type(batch.image_sizes[0]).__name__
    golden.check_json("facts", facts)


def test_label_maps_pad_with_the_given_value() -> None:
    golden = Golden("image_list")
    maps = [golden.input("lab0"), golden.input("lab1")]
    golden.check("labels", ImageList.from_tensors(maps, 16, pad_value=255).tensor)


@pytest.mark.parametrize("count", [1, 2])
def test_images_are_copied_and_come_back_whole(count: int) -> None:
    images = [torch.rand(3, 4, 5) for _ in range(count)]
    expected = [image.clone() for image in images]
    batch = ImageList.from_tensors(images)
    images[0].zero_()
    assert all(torch.equal(batch[i], expected[i]) for i in range(count))


def test_the_first_image_gives_the_dtype() -> None:
    images = [torch.rand(1, 2, 2), torch.rand(1, 2, 2).double()]
    assert ImageList.from_tensors(images).tensor.dtype == torch.float32


def test_gradients_reach_the_images() -> None:
    images = [torch.rand(1, 2, 2, requires_grad=True), torch.rand(1, 3, 1, requires_grad=True)]
    ImageList.from_tensors(images).tensor.sum().backward()
    assert all(image.grad is not None and bool((image.grad == 1).all()) for image in images)


def test_a_square_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="square_size=3 is too small for images of 4 x 5"):
        ImageList.from_tensors([torch.zeros(1, 4, 5)], padding_constraints={"square_size": 3})


def test_other_channels_are_refused() -> None:
    with pytest.raises(AssertionError, match="more than height and width"):
        ImageList.from_tensors([torch.zeros(3, 4, 5), torch.zeros(1, 4, 5)])


def test_no_images_are_refused() -> None:
    with pytest.raises(AssertionError, match="at least one"):
        ImageList.from_tensors([])


def test_to_changes_a_copy() -> None:
    batch = ImageList.from_tensors([torch.zeros(1, 2, 2)])
    assert batch.to(torch.float64).tensor.dtype == torch.float64
    assert batch.tensor.dtype == torch.float32
    assert batch.device == torch.device("cpu")
