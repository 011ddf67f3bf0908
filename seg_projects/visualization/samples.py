"""Comparisons of an image, its ground truth and a prediction, ready for a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from seg_projects.visualization.overlay import (
    Category,
    Ids,
    Image,
    double_ids,
    double_image,
    panoptic_overlay,
    semantic_overlay,
)

_LARGEST_SIDE = 800

# Of the image, its enlarged ids, their segments and the categories; keywords are left out.
Overlay = Callable[[Image, Ids, Sequence[Mapping[str, Any]], Mapping[int, Category]], Image]


class Panoptic(NamedTuple):
    """A panoptic segmentation."""

    ids: Ids
    """(H, W), 0 is void."""
    segments: Sequence[Mapping[str, Any]]
    """``id`` and ``category_id`` of each segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image of a report; all arrays are (H, W, 3) RGB of one size."""

    name: str
    image: Image
    ground_truth: Image | None = None
    prediction: Image
    caption: str = ""
    """Shown beside the name, such as the PQ of this image."""


def panoptic_sample(
    name: str,
    image_rgb: Image,
    *,
    ground_truth: Panoptic | None = None,
    prediction: Panoptic,
    categories: Mapping[int, Category],
    caption: str = "",
    overlay: Overlay = panoptic_overlay,
) -> Sample:
    """Paints both segmentations over the image, small images enlarged so that names are legible.

    Args:
        name: Of the image; its PNG file is called after it.
        image_rgb: (H, W, 3) uint8.
        ground_truth: None where the image has no annotation.
        prediction: Of the same size.
        categories: By the category ids that both segmentations use.
        caption: One short line.
        overlay: ``instance_overlay`` where what lies between the segments is the image itself.
    """

    def paint(image: Image, panoptic: Panoptic, ids: Ids) -> Image:
        return overlay(image, ids, panoptic.segments, categories)

    return _sample(name, image_rgb, ground_truth, prediction, paint, caption)


def semantic_sample(
    name: str,
    image_rgb: Image,
    *,
    ground_truth: Ids | None = None,
    prediction: Ids,
    categories: Mapping[int, Category],
    caption: str = "",
) -> Sample:
    """Like :func:`panoptic_sample` for (H, W) maps of class labels, the keys of ``categories``."""

    def paint(image: Image, _: Panoptic, labels: Ids) -> Image:
        return semantic_overlay(image, labels, categories)

    truth = None if ground_truth is None else Panoptic(ground_truth, ())
    return _sample(name, image_rgb, truth, Panoptic(prediction, ()), paint, caption)


def _sample(
    name: str,
    image_rgb: Image,
    ground_truth: Panoptic | None,
    prediction: Panoptic,
    paint: Callable[[Image, Panoptic, Ids], Image],
    caption: str,
) -> Sample:
    """``paint`` takes the enlarged image, a segmentation and its enlarged ids."""
    doublings = 0
    while max(image_rgb.shape[:2]) * 2 <= _LARGEST_SIDE:
        image_rgb = double_image(image_rgb)
        doublings += 1

    def painted(segmentation: Panoptic) -> Image:
        ids = segmentation.ids
        for _ in range(doublings):
            ids = double_ids(ids)
        return paint(image_rgb, segmentation, ids)

    return Sample(
        name=name,
        image=image_rgb,
        ground_truth=None if ground_truth is None else painted(ground_truth),
        prediction=painted(prediction),
        caption=caption,
    )
