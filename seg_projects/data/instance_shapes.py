"""Outlines of objects, polygons or masks, moved by transforms and rendered.

A shape is a list of (P, 2) arrays, the (x, y) corners of polygons that make up one object, or an
(H, W) uint8 mask of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from fvcore.transforms.transform import CropTransform, Transform

from detectron2.structures import polygons_to_bitmask
from seg_projects.data.panoptic_ids import ids_from_rgb, rgb_from_ids
from seg_projects.errors import UserError

Shape: TypeAlias = list[np.ndarray] | np.ndarray


def read_shape(segmentation: Any, size: tuple[int, int], name: str) -> Shape:
    """The shape of a COCO ``segmentation``: polygons, or run lengths, compressed or not.

    Args:
        segmentation: of an annotation.
        size: (height, width) of the image.
        name: of the image, for messages.

    Raises:
        UserError: it is something else, or a mask of another size.
    """
    if isinstance(segmentation, list):
        return [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation]
    if not isinstance(segmentation, dict):
        raise UserError(
            f"{name}: a segmentation is {type(segmentation).__name__}; it is a list of polygons "
            "or a run-length encoding."
        )
    from pycocotools import mask as mask_api

    if tuple(segmentation["size"]) != size:
        raise UserError(
            f"{name} has the size {size}, one of its masks {tuple(segmentation['size'])}, as "
            "(height, width)."
        )
    if isinstance(segmentation["counts"], list):
        segmentation = mask_api.frPyObjects(segmentation, *size)
    return mask_api.decode(segmentation)


def move_shapes(shapes: Sequence[Shape], transforms: Transform) -> list[Shape]:
    """The shapes after ``transforms``; polygons may reach beyond the image."""
    moved: list[Shape] = list(shapes)
    masks = [i for i, shape in enumerate(shapes) if isinstance(shape, np.ndarray)]
    if masks:
        stack = move_masks(np.stack([np.asarray(shapes[i]) for i in masks]), transforms)
        for i, mask in zip(masks, stack, strict=True):
            moved[i] = mask
    outlines = [i for i, shape in enumerate(shapes) if isinstance(shape, list)]
    polygons = [polygon for i in outlines for polygon in shapes[i]]
    if polygons:
        # All at once: some transforms have a price per call. They may write into what they get.
        points = transforms.apply_coords(np.concatenate(polygons))
        ends = np.cumsum([len(polygon) for polygon in polygons])
        rest = iter(np.split(points, ends[:-1]))
        for i in outlines:
            moved[i] = [next(rest) for _ in shapes[i]]
    return moved


def move_masks(masks: np.ndarray, transforms: Transform) -> np.ndarray:
    """(N, H, W) masks of 0 and 1 after ``transforms``, (N, H', W') uint8; padding is 0."""
    if masks.sum(dtype=np.int64) == np.count_nonzero(masks.any(axis=0)):
        # Disjoint: one map of numbers moves them all.
        numbers = np.arange(1, len(masks) + 1, dtype=np.int32)
        index = np.einsum("nhw,n->hw", masks, numbers)
        index = ids_from_rgb(transforms.apply_segmentation(rgb_from_ids(index)))
        return (index == numbers[:, None, None]).view(np.uint8)
    return np.stack([transforms.apply_segmentation(mask) == 1 for mask in masks]).view(np.uint8)


def render(shapes: Sequence[Shape], size: tuple[int, int]) -> np.ndarray:
    """The (N, H, W) bool masks of the shapes in an image of ``size``."""
    masks = np.zeros((len(shapes), *size), dtype=bool)
    for mask, shape in zip(masks, shapes, strict=True):
        if isinstance(shape, list):
            mask[:] = polygons_to_bitmask([polygon.ravel() for polygon in shape], *size)
        else:
            mask[:] = shape
    return masks


def clip_polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """The parts of ``polygons`` inside an image of ``size``; those without area are left out."""
    height, width = size
    inside: list[np.ndarray] = []
    for polygon in polygons:
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        if (low >= 0).all() and (high <= (width, height)).all():
            inside.append(polygon)
        elif (high > 0).all() and (low < (width, height)).all():
            inside += CropTransform(0, 0, width, height).apply_polygons([polygon])
    return [polygon for polygon in inside if len(polygon) >= 3]
