"""Label maps of scores: torch's argmax, faster."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seg_projects.postprocessing.label_argmax import argmax_labels, numpy_block_argmax


def _scores(classes: int, height: int, width: int) -> torch.Tensor:
    """With equal values, both infinities, and NaN in several classes of one pixel."""
    scores = torch.randint(-3, 3, (classes, height, width)).float()
    scores[:, 0, 0] = -torch.inf
    scores[-1, 0, 1] = torch.inf
    scores[1:, 0, 2] = torch.nan
    scores[0, 0, 3] = torch.nan
    return scores


# More pixels than fit into one block, and not a multiple of it.
@pytest.mark.parametrize(("classes", "height", "width"), [(2, 1, 4), (5, 90, 101), (300, 3, 7)])
def test_labels_are_those_of_argmax(classes: int, height: int, width: int) -> None:
    scores = _scores(classes, height, width)
    expected = scores.numpy().argmax(axis=0)
    labels = argmax_labels(scores)
    assert labels.dtype == (torch.uint8 if classes <= 256 else torch.int32)
    assert np.array_equal(labels.numpy(), expected)
    wide = argmax_labels(scores, dtype=torch.int64)
    assert wide.dtype == torch.int64
    assert torch.equal(wide, scores.argmax(dim=0))
    by_numpy = np.empty(height * width, dtype=np.int32)
    numpy_block_argmax(scores.reshape(classes, -1).numpy(), by_numpy)
    assert np.array_equal(by_numpy.reshape(height, width), expected)


def test_strides_and_other_types_are_accepted() -> None:
    scores = _scores(4, 6, 8)
    turned = scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(argmax_labels(turned), argmax_labels(scores))
    assert torch.equal(argmax_labels(scores.half()), argmax_labels(scores))


def test_no_pixel_and_one_class() -> None:
    assert argmax_labels(torch.zeros(3, 0, 5)).shape == (0, 5)
    assert argmax_labels(torch.ones(1, 2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.gpu
def test_the_device_gives_the_same() -> None:
    scores = torch.randn(5, 20, 30)
    assert torch.equal(argmax_labels(scores.cuda()).cpu(), argmax_labels(scores))
