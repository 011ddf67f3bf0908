"""Class scores to labels."""

import pytest
import torch

from detectron2.layers.label_map import label_map


@pytest.mark.parametrize("shape", [(1, 5, 7), (6, 33, 9), (2, 1, 1), (3, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_first_of_equal_maxima_counts(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    scores = torch.randint(-3, 3, shape).to(dtype)  # With ties.
    assert torch.equal(label_map(scores).long(), scores.float().argmax(dim=0))


def test_a_part_of_a_larger_map_is_read_in_place() -> None:
    scores = torch.rand(5, 9, 8)[:, 1:6, 2:7]
    assert torch.equal(label_map(scores).long(), scores.argmax(dim=0))


@pytest.mark.parametrize(("classes", "dtype"), [(256, torch.uint8), (300, torch.int64)])
def test_the_labels_of_many_classes_have_room(classes: int, dtype: torch.dtype) -> None:
    scores = torch.zeros(classes, 1, 2)
    scores[-1, 0, 1] = 1
    labels = label_map(scores)
    assert labels.dtype == dtype
    assert labels.tolist() == [[0, classes - 1]]


@pytest.mark.gpu
def test_labels_are_the_same_on_the_device() -> None:
    scores = torch.rand(7, 20, 30)
    assert torch.equal(label_map(scores.cuda()).cpu(), label_map(scores))
