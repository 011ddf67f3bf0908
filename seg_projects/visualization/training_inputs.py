"""What a network gets to see in training: the inputs of a mapper as pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectron2.data.catalog import Metadata
from detectron2.structures import Instances
from seg_projects.visualization.class_masks import combined_categories, painted_classes
from seg_projects.visualization.overlay import (
    Category,
    Image,
    double_ids,
    double_image,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
)

_LARGEST_SIDE = 640


def input_panels(
    mapped: Mapping[str, Any], metadata: Metadata, *, image_format: str
) -> dict[str, Image]:
    """The image and one picture per target, by name; small images are enlarged.

    Args:
        mapped: what a mapper gave; ``instances``, ``sem_seg``, ``center``, ``offset`` and
            ``panoptic_ids`` are shown where they are there.
        metadata: of the data set, for names and colours.
        image_format: channel order of ``image``.
    """
    image = _as_rgb(mapped["image"], image_format)
    doublings = 0
    while max(image.shape[:2]) * 2 <= _LARGEST_SIDE:
        image, doublings = double_image(image), doublings + 1

    def enlarged(ids: NDArray[Any]) -> NDArray[Any]:
        for _ in range(doublings):
            ids = double_ids(ids)
        return ids

    panels = {"image": image}
    if "instances" in mapped:
        instances = mapped["instances"]
        painted = _paint_instances(image, instances, metadata, enlarged)
        panels[f"instances: {len(instances)}"] = painted
    if "sem_seg" in mapped:
        panels["sem_seg"] = _paint_classes(image, mapped["sem_seg"].numpy(), metadata, enlarged)
    if "panoptic_ids" in mapped:
        segments, categories = mapped["segments_info"], _categories(metadata, "stuff")
        ids = enlarged(mapped["panoptic_ids"].numpy())
        panels["panoptic"] = panoptic_overlay(image, ids, segments, categories)
    if "center" in mapped:
        panels["center"] = _paint_heat(image, _repeated(mapped["center"], doublings))
    if "offset" in mapped:
        offset, weights = (_repeated(mapped[k], doublings) for k in ("offset", "offset_weights"))
        panels["offset"] = _paint_directions(image, offset, weights)
    return panels


def _repeated(maps: torch.Tensor, doublings: int) -> NDArray[Any]:
    """(C, H, W) of (C, h, w) or (h, w) ``maps``, each pixel as a square."""
    values = maps.numpy().reshape(-1, *maps.shape[-2:])
    return values.repeat(2**doublings, axis=1).repeat(2**doublings, axis=2)


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


def _paint_classes(
    image: Image,
    labels: NDArray[Any],
    metadata: Metadata,
    enlarged: Callable[[NDArray[Any]], NDArray[Any]],
) -> Image:
    """The class of each pixel (h, w), or its classes (K, h, w)."""
    categories = _categories(metadata, "stuff")
    if labels.ndim == 2:
        return semantic_overlay(image, enlarged(labels), categories)
    ids, segments = painted_classes(labels)
    known = combined_categories(list(categories.values()), segments)
    return instance_overlay(image, enlarged(ids), segments, known)


def _paint_instances(
    image: Image,
    instances: Instances,
    metadata: Metadata,
    enlarged: Callable[[NDArray[Any]], NDArray[Any]],
) -> Image:
    """Masks with the names of their classes, and boxes; smaller ones lie above larger ones.

    ``enlarged`` brings a map of ids to the size of ``image``.
    """
    import cv2

    masks = _masks(instances)
    painted = image.copy()
    if masks is not None:
        # Layers from large to small, as ids from 1 on.
        order = np.argsort(-masks.sum(axis=(1, 2)), kind="stable")
        ids = np.zeros(instances.image_size, np.int32)
        for number, index in enumerate(order, start=1):
            ids[masks[index]] = number
        classes = instances.gt_classes.tolist()
        segments = [
            {"id": number, "category_id": classes[index]}
            for number, index in enumerate(order, start=1)
        ]
        known = _categories(metadata, "thing")
        categories = {c: known.get(c, _unknown(c)) for c in classes}
        painted = instance_overlay(image, enlarged(ids), segments, categories)
    boxes = instances.gt_boxes.tensor * (image.shape[0] / instances.image_size[0])
    for x0, y0, x1, y1 in boxes.round().int().tolist():
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


def _paint_heat(image: Image, heat: NDArray[Any]) -> Image:
    """The grey image with (1, H, W) ``heat`` in [0, 1] in red."""
    share = heat[0, :, :, None].clip(0, 1)
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6, 3, axis=2)
    return (grey * (1 - share) + np.array((255, 40, 20)) * share).astype(np.uint8)


def _paint_directions(image: Image, offset: NDArray[Any], weights: NDArray[Any]) -> Image:
    """The grey image; where (1, H, W) ``weights`` count, the hue of where ``offset`` leads.

    Red is to the right, green-yellow down, cyan to the left, violet up; white is the goal itself.

    Args:
        image: (H, W, 3).
        offset: (2, H, W) rows down, columns to the right.
        weights: above 0 on things.
    """
    import cv2

    down, right = offset
    length = np.hypot(down, right)
    hsv = np.stack(
        [
            np.degrees(np.arctan2(down, right)) % 360,
            (length / max(1.0, float(length.max()) / 3)).clip(0, 1),
            np.full_like(length, 0.9),
        ],
        axis=-1,
    )
    colors = cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB) * 255
    grey = np.repeat(image.mean(axis=2, keepdims=True) * 0.6, 3, axis=2)
    return np.where(weights[0, :, :, None] > 0, 0.3 * grey + 0.7 * colors, grey).astype(np.uint8)
