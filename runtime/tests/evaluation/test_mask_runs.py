"""Run-length encoding, compared with pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as mask_api

from detectron2.evaluation.mask_runs import encode_label_map, encode_masks


def reference(mask: np.ndarray) -> dict[str, object]:
    rle = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def boxes_and_noise() -> np.ndarray:
    """Masks at the edges, of full height or width, empty, full, of one pixel, and of noise."""
    masks = np.zeros((12, 7, 9), dtype=bool)
    masks[1] = True
    masks[2, 3, 4] = True
    masks[3, :, 2:5] = True  # Full height: its runs go on in the next column.
    masks[4, 2:4] = True
    masks[5, 5:, 6:] = True
    masks[6, :2, :3] = True
    masks[7, 2:, 1:3] = True  # Touches the lower edge alone.
    masks[8, -1, -1] = True
    masks[9, 0, 0] = True
    masks[10:] = np.random.default_rng(0).random((2, 7, 9)) < 0.5
    return masks


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_masks_are_encoded_as_by_pycocotools(dtype: type) -> None:
    masks = boxes_and_noise()
    assert encode_masks(masks.astype(dtype)) == [reference(mask) for mask in masks]


def test_masks_of_any_memory_layout_are_encoded() -> None:
    masks = boxes_and_noise()
    strided = np.zeros((12, 9, 7), dtype=bool).transpose(0, 2, 1)
    strided[:] = masks
    assert encode_masks(strided) == [reference(mask) for mask in masks]
    assert encode_masks(np.repeat(masks, 2, axis=2)[:, :, ::2]) == encode_masks(masks)


def test_no_masks_give_no_encodings() -> None:
    assert encode_masks(np.zeros((0, 4, 5), dtype=bool)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 7)])
@pytest.mark.parametrize("classes", [1, 2, 40])
def test_label_maps_are_encoded_as_by_pycocotools(shape: tuple[int, int], classes: int) -> None:
    labels = np.random.default_rng(1).integers(0, classes, shape)
    expected = {int(k): reference(labels == k) for k in np.unique(labels)}
    assert encode_label_map(labels) == expected


def test_an_empty_map_has_no_labels() -> None:
    assert encode_label_map(np.zeros((0, 4), dtype=np.int64)) == {}
