"""What a network gets to see in training: the inputs of a mapper as pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectron2.data.catalog import Metadata
from detectron2.structures import Instances
from seg_projects.visualization.overlay import (
    Category,
    Image,
    double_image,
    panoptic_overlay,
    semantic_overlay,
)

_LARGEST_SIDE = 640


def input_panels(
    mapped: Mapping[str, Any], metadata: Metadata, *, image_format: str
) -> dict[str, Image]:
    """The image and one picture per target, by name; small images are enlarged.

    Args:
        mapped: what a mapper gave; ``instances``, ``sem_seg``, ``center`` and ``panoptic_ids`` are
            shown where they are there.
        metadata: of the data set, for names and colours.
        image_format: channel order of ``image``.
    """
    image = _as_rgb(mapped["image"], image_format)
    panels = {"image": image}
    if "instances" in mapped:
        instances = mapped["instances"]
        panels[f"instances: {len(instances)}"] = _paint_instances(image, instances, metadata)
    if "sem_seg" in mapped:
        labels = mapped["sem_seg"].numpy()
        panels["sem_seg"] = semantic_overlay(image, labels, _categories(metadata, "stuff"))
    if "panoptic_ids" in mapped:
        segments, categories = mapped["segments_info"], _categories(metadata, "stuff")
        ids = mapped["panoptic_ids"].numpy()
        panels["panoptic"] = panoptic_overlay(image, ids, segments, categories)
    if "center" in mapped:
        panels["center"] = _paint_heat(image, mapped["center"])
    while max(image.shape[:2]) * 2 <= _LARGEST_SIDE:
        panels = {name: double_image(panel) for name, panel in panels.items()}
        image = panels["image"]
    return panels


def _as_rgb(image: torch.Tensor, image_format: str) -> Image:
    """(H, W, 3) uint8 of a (C, H, W) tensor in [0, 255]."""
    pixels = image.permute(1, 2, 0).numpy().round().clip(0, 255).astype(np.uint8)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, ::-1] if image_format == "BGR" else pixels)


def _categories(metadata: Metadata, kind: str) -> dict[int, Category]:
    """``thing`` or ``stuff`` classes by their contiguous ids."""
    names: Sequence[str] = metadata.get(f"{kind}_classes") or ()
    colors = metadata.get(f"{kind}_colors") or _spread_colors(len(names))
    return {
        index: Category(name=name, color=tuple(color), is_thing=kind == "thing")
        for index, (name, color) in enumerate(zip(names, colors, strict=True))
    }


def _spread_colors(count: int) -> list[list[int]]:
    hues = [index / max(1, count) for index in range(count)]
    return [[round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.7, 0.95)] for hue in hues]


def _paint_instances(image: Image, instances: Instances, metadata: Metadata) -> Image:
    """Masks with the names of their classes, and boxes; smaller ones lie above larger ones."""
    import cv2

    masks = _masks(instances)
    painted = image.copy()
    if masks is not None:
        # Layers from large to small, as ids from 1 on.
        order = np.argsort(-masks.sum(axis=(1, 2)), kind="stable")
        ids = np.zeros(image.shape[:2], np.int32)
        for number, index in enumerate(order, start=1):
            ids[masks[index]] = number
        classes = instances.gt_classes.tolist()
        segments = [
            {"id": number, "category_id": classes[index]}
            for number, index in enumerate(order, start=1)
        ]
        known = _categories(metadata, "thing")
        categories = {c: known.get(c, _unknown(c)) for c in classes}
        painted = panoptic_overlay(image, ids, segments, categories)
        painted[ids == 0] = image[ids == 0]
    for x0, y0, x1, y1 in instances.gt_boxes.tensor.round().int().tolist():
        cv2.rectangle(painted, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 0), 1)
    return painted


def _unknown(index: int) -> Category:
    return Category(name=str(index), color=(200, 200, 200), is_thing=True)


def _masks(instances: Instances) -> NDArray[np.bool_] | None:
    """(R, H, W), rendered where they are polygons; None where there are none."""
    if not instances.has("gt_masks"):
        return None
    from detectron2.structures import BitMasks, polygons_to_bitmask

    masks, size = instances.gt_masks, instances.image_size
    if isinstance(masks, BitMasks):
        return masks.tensor.numpy()
    rendered = [polygons_to_bitmask(polygons, *size) for polygons in masks.polygons]
    return np.array(rendered, dtype=bool).reshape(-1, *size)


def _paint_heat(image: Image, heat: torch.Tensor) -> Image:
    """The grey image with (H, W) ``heat`` in [0, 1] in red."""
    share = heat.numpy().reshape(image.shape[:2], copy=False)[:, :, None].clip(0, 1)
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6, 3, axis=2)
    return (grey * (1 - share) + np.array((255, 40, 20)) * share).astype(np.uint8)
