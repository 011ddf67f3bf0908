"""Panoptic records read, augmented and perhaps pasted into one another: what mappers start from."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import numpy as np

from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from seg_projects.data.augmentation import CopyPaste, Step, paste_pixels, split_steps
from seg_projects.data.images import read_image
from seg_projects.data.label_maps import IGNORED
from seg_projects.data.panoptic_ids import (
    ids_from_rgb,
    index_ids,
    read_panoptic_ids,
    rgb_from_ids,
    semantic_labels,
)
from seg_projects.errors import UserError

# What padding makes of three bytes; see augmentation.geometry.VOID.
_PADDING = 2**24 - 1


class PanopticScene(NamedTuple):
    """An image and the segments that are seen in it."""

    image: np.ndarray  # (H, W, C), uint8 or float32 in [0, 255]
    ids: np.ndarray  # (H, W) int32; 0, and what `segments` does not list, is void
    segments: list[dict[str, Any]]  # with `id`, `category_id`, `iscrowd`; each has a pixel


class PanopticScenes:
    """Reads panoptic records as scenes, all parts of which went through the same augmentations."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        image_format: str,
        thing_ids: Container[int],
        partners: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Takes what is done to every scene.

        Args:
            steps: from ``build_augmentations``.
            image_format: channel order of the image, as in ``cfg.INPUT.FORMAT``.
            thing_ids: category ids of things, of which crowds are never pasted.
            partners: records whose objects ``CopyPaste`` may paste, usually the data set's.

        Raises:
            UserError: ``steps`` paste, but there are no partners.
        """
        self.pipeline = split_steps(steps)
        self.image_format, self.thing_ids, self.partners = image_format, thing_ids, partners
        check_partners(self.pipeline.copy_paste, partners)

    def image(self, record: dict[str, Any]) -> np.ndarray:
        """The augmented image alone, (H, W, C), as for a test."""
        inputs = T.AugInput(self._read_image(record))
        self.pipeline.each(inputs)
        return inputs.image

    def __call__(self, record: dict[str, Any]) -> PanopticScene:
        """The scene of ``record``, which stays as it is."""
        scene = self._augmented(self._read(record), self.pipeline.each)
        paste = self.pipeline.copy_paste
        if paste is None:
            return scene
        partner = paste.draw_partner(len(self.partners))
        if partner is not None:
            other = self._augmented(self._read(self.partners[partner]), self.pipeline.each)
            things = [s for s in other.segments if s["category_id"] in self.thing_ids]
            objects = [s["id"] for s in things if not s.get("iscrowd", 0)]
            chosen = [objects[i] for i in paste.draw_objects(len(objects))]
            scene = paste_segments(scene, other, chosen)
        return self._augmented(scene, self.pipeline.merged)

    def _read_image(self, record: dict[str, Any]) -> np.ndarray:
        image = read_image(record["file_name"], self.image_format)
        utils.check_image_size(dict(record), image)
        return image

    def _read(self, record: dict[str, Any]) -> PanopticScene:
        image = self._read_image(record)
        ids = read_panoptic_ids(record["pan_seg_file_name"])
        if ids.shape != image.shape[:2]:
            raise UserError(
                f"{record['pan_seg_file_name']} has the size {ids.shape}, its image "
                f"{record['file_name']} {image.shape[:2]}, as (height, width)."
            )
        return PanopticScene(image, ids, record["segments_info"])

    def _augmented(self, scene: PanopticScene, steps: T.AugmentationList) -> PanopticScene:
        labels = _category_map(scene) if self.pipeline.needs_labels else None
        inputs = T.AugInput(scene.image, sem_seg=labels)
        transforms = steps(inputs)
        # As three bytes, because every transform can move those exactly.
        ids = ids_from_rgb(transforms.apply_segmentation(rgb_from_ids(scene.ids)))
        ids[ids == _PADDING] = 0
        return PanopticScene(inputs.image, ids, _seen(ids, scene.segments))


def check_partners(paste: CopyPaste | None, partners: Sequence[Any]) -> None:
    """Raises :class:`UserError` where objects shall be pasted and there is nowhere to take them."""
    if paste is not None and not len(partners):
        raise UserError(
            "INPUT.AUGMENTATIONS has copy_paste, but the mapper got no records to paste from: give "
            "it the data set's as `partners`."
        )


def _seen(ids: np.ndarray, segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The segments that have a pixel in ``ids``."""
    index = index_ids(ids, [s["id"] for s in segments])
    areas = np.bincount(index.ravel(), minlength=len(segments) + 1)[1:]
    return [s for s, area in zip(segments, areas, strict=True) if area]


def _category_map(scene: PanopticScene) -> np.ndarray:
    """The category of each pixel, (H, W) int32 from 256 on, ``IGNORED`` for void."""
    categories = sorted({s["category_id"] for s in scene.segments})
    labels = {category: 256 + index for index, category in enumerate(categories)}
    return semantic_labels(
        scene.ids, scene.segments, thing_ids=(), stuff_ids=labels, ignore_label=IGNORED
    ).astype(np.int32)


def paste_segments(
    scene: PanopticScene, other: PanopticScene, chosen: Sequence[int]
) -> PanopticScene:
    """``scene`` with segments of ``other`` laid over it, under new ids, corner on corner.

    Args:
        scene: what may become hidden; segments of which nothing is left are dropped.
        other: of any size.
        chosen: ids of its segments.
    """
    height, width = np.minimum(scene.ids.shape, other.ids.shape)
    corner = other.ids[:height, :width]
    index = index_ids(corner, chosen)
    mask = index > 0
    image, ids = paste_pixels(scene.image, other.image, mask), scene.ids.copy()
    first = 1 + max((s["id"] for s in scene.segments), default=0)
    ids[:height, :width][mask] = first - 1 + index[mask]
    new_id = {old: first + position for position, old in enumerate(chosen)}
    pasted = [s | {"id": new_id[s["id"]]} for s in other.segments if s["id"] in new_id]
    return PanopticScene(image, ids, _seen(ids, [*scene.segments, *pasted]))
