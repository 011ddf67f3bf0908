"""Binary masks of classes as one picture: each combination of classes has a colour of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_projects.data.class_masks import Combinations
from seg_projects.visualization.overlay import Category, Ids, Image, instance_overlay


class PaintedClasses(NamedTuple):
    """Planes as an overlay takes them."""

    ids: Ids
    """(H, W), 0 where no class is."""
    segments: list[dict[str, int]]
    """``id`` and ``category_id`` of each combination; bit k of the latter stands for class k."""


def painted_classes(planes: NDArray[np.uint8] | NDArray[np.bool_]) -> PaintedClasses:
    """The combinations of classes that (K, H, W) ``planes`` hold, 1 where the class is."""
    found = Combinations.of((planes == 1).astype(np.uint8))
    bits = [sum(1 << int(k) for k in np.flatnonzero(row)) for row in found.values]
    # Pixels without a class show the image.
    numbers = np.array([0 if not bit else 1 + i for i, bit in enumerate(bits)], dtype=np.int32)
    segments = [
        {"id": int(number), "category_id": bit}
        for number, bit in zip(numbers, bits, strict=True)
        if number
    ]
    return PaintedClasses(numbers[found.codes], segments)


def combined_categories(
    categories: Sequence[Category], segments: Sequence[Mapping[str, int]]
) -> dict[int, Category]:
    """What the combinations of ``segments`` are called, and the mean colour of their classes."""
    combined = {}
    for bits in {segment["category_id"] for segment in segments}:
        parts = [category for k, category in enumerate(categories) if bits >> k & 1]
        mean = np.mean([part.color for part in parts], axis=0).round().astype(int).tolist()
        name = " + ".join(part.name for part in parts)
        combined[bits] = Category(name=name, color=(mean[0], mean[1], mean[2]), is_thing=False)
    return combined


def class_mask_overlay(
    image_rgb: Image,
    planes: NDArray[np.uint8] | NDArray[np.bool_],
    categories: Mapping[int, Category],
) -> Image:
    """The (H, W, 3) image with the (K, H, W) ``planes`` of classes painted over it."""
    painted = painted_classes(planes)
    known = combined_categories(list(categories.values()), painted.segments)
    return instance_overlay(image_rgb, painted.ids, painted.segments, known)
