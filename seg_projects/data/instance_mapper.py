"""The mapper of instance segmentation: from a record with annotations to image and instances."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from seg_projects.data.augmentation import (
    Step,
    build_augmentations,
    paste_pixels,
    split_steps,
)
from seg_projects.data.images import as_tensor, read_image
from seg_projects.data.instance_shapes import (
    Shape,
    clip_polygons,
    move_shapes,
    read_shape,
    render,
)
from seg_projects.data.panoptic_scenes import check_partners
from seg_projects.errors import UserError


class _Scene(NamedTuple):
    """What of a record moves together: R objects in an image."""

    image: np.ndarray  # (H, W, C)
    classes: np.ndarray  # (R,) int64
    boxes_xyxy: np.ndarray  # (R, 4)
    shapes: Sequence[Shape] | None  # None where masks are not used
    sem_seg: np.ndarray | None  # (H, W) labels, where the record names them


class InstanceMapper:
    """Turns a record with ``annotations`` into a training or test input, as ``DatasetMapper`` does.

    Beyond Detectron2's it knows all of ``INPUT.AUGMENTATIONS``, reads all kinds of images, and
    gives boxes that are tight around what is seen of the masks. Crowds are no instances. A
    ``sem_seg_file_name`` of the record becomes ``sem_seg``.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[Step],
        image_format: str,
        use_masks: bool = True,
        mask_format: Literal["polygon", "bitmask"] = "bitmask",
        partners: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Takes what is done to every record.

        Args:
            is_train: False gives the image alone, in the size that the model is tested with.
            augmentations: applied in this order, see ``build_augmentations``.
            image_format: channel order of ``image``, as in ``cfg.INPUT.FORMAT``.
            use_masks: whether there are ``gt_masks``.
            mask_format: of these.
            partners: records that ``copy_paste`` takes objects from.

        Raises:
            UserError: objects shall be pasted, but their masks are not known pixel by pixel.
        """
        self.is_train = is_train
        self.pipeline = split_steps(augmentations)
        self.image_format, self.use_masks, self.mask_format = image_format, use_masks, mask_format
        self.partners = partners
        check_partners(self.pipeline.copy_paste, partners)
        if self.pipeline.copy_paste is not None and (not use_masks or mask_format != "bitmask"):
            raise UserError(
                "copy_paste hides parts of objects: set MODEL.MASK_ON True and INPUT.MASK_FORMAT "
                "'bitmask'."
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "use_masks": cfg.MODEL.MASK_ON,
            "mask_format": cfg.INPUT.MASK_FORMAT,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with ``image`` (C, H, W) and, in training, its targets.

        The image is uint8, or float32 in [0, 255] of a 16-bit file. The targets are ``instances``
        (``gt_boxes``, ``gt_classes``, ``gt_masks``) and, where the record names a label map,
        ``sem_seg`` (H, W) int64. The record itself is left as it is.
        """
        result = copy.copy(record)
        if not self.is_train:
            inputs = T.AugInput(self._read_image(result))
            self.pipeline.each(inputs)
            for key in ("annotations", "sem_seg_file_name"):
                result.pop(key, None)
            result["image"] = as_tensor(inputs.image)
            return result
        scene = self._moved(self._read(result), self.pipeline.each)
        if self.pipeline.copy_paste is not None:
            scene = self._moved(self._pasted(scene), self.pipeline.merged)
        for key in ("annotations", "sem_seg_file_name"):
            result.pop(key, None)
        result["image"] = as_tensor(scene.image)
        result["instances"] = self._instances(scene)
        if scene.sem_seg is not None:
            result["sem_seg"] = torch.from_numpy(scene.sem_seg.astype(np.int64))
        return result

    def _read_image(self, record: dict[str, Any]) -> np.ndarray:
        image = read_image(record["file_name"], self.image_format)
        utils.check_image_size(record, image)  # which notes the size where there is none
        return image

    def _read(self, record: dict[str, Any]) -> _Scene:
        image = self._read_image(record)
        name, size = record["file_name"], (image.shape[0], image.shape[1])
        objects = [a for a in record.get("annotations", ()) if not a.get("iscrowd", 0)]
        shapes = None
        if self.use_masks:
            shapes = [read_shape(a.get("segmentation"), size, name) for a in objects]
        return _Scene(
            image,
            np.array([a["category_id"] for a in objects], dtype=np.int64),
            _boxes_xyxy(objects),
            shapes,
            self._read_labels(record, size),
        )

    def _read_labels(self, record: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
        path = record.get("sem_seg_file_name")
        if path is None:
            if self.pipeline.needs_labels:
                raise UserError(
                    f"SINGLE_CATEGORY_MAX_AREA needs a label map, and {record['file_name']} has "
                    "none: set it to 1."
                )
            return None
        labels = utils.read_image(path, "L")[:, :, 0]
        if labels.shape != size:
            raise UserError(
                f"{path} has the size {labels.shape}, its image {record['file_name']} {size}, as "
                "(height, width)."
            )
        return labels

    def _moved(self, scene: _Scene, steps: T.AugmentationList) -> _Scene:
        inputs = T.AugInput(scene.image, sem_seg=scene.sem_seg)
        transforms = steps(inputs)
        shapes = None if scene.shapes is None else move_shapes(scene.shapes, transforms)
        boxes = transforms.apply_box(scene.boxes_xyxy) if len(scene.classes) else scene.boxes_xyxy
        return _Scene(inputs.image, scene.classes, boxes, shapes, inputs.sem_seg)

    def _pasted(self, scene: _Scene) -> _Scene:
        paste = self.pipeline.copy_paste
        assert paste is not None
        partner = paste.draw_partner(len(self.partners))
        if partner is None:
            return scene
        other = self._moved(self._read(dict(self.partners[partner])), self.pipeline.each)
        return paste_objects(scene, other, paste.draw_objects(len(other.classes)))

    def _instances(self, scene: _Scene) -> Instances:
        size = (scene.image.shape[0], scene.image.shape[1])
        instances = Instances(size)
        instances.gt_classes = torch.from_numpy(scene.classes)
        if scene.shapes is None:
            boxes = Boxes(torch.from_numpy(scene.boxes_xyxy.astype(np.float32)))
            boxes.clip(size)
            instances.gt_boxes = boxes
            return utils.filter_empty_instances(instances)
        if self.mask_format == "polygon":
            polygons = [_polygons(shape, size) for shape in scene.shapes]
            seen = np.array([bool(p) for p in polygons], dtype=bool)
            instances = instances[torch.from_numpy(seen)]
            polygons = [p for p in polygons if p]
            instances.gt_masks = PolygonMasks(polygons)
            instances.gt_boxes = _boxes_of_polygons(polygons)
        else:
            instances.gt_masks = BitMasks(torch.from_numpy(render(scene.shapes, size)))
            instances = instances[instances.gt_masks.nonempty()]
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances, by_mask=False)


def _boxes_xyxy(annotations: Sequence[dict[str, Any]]) -> np.ndarray:
    """(R, 4) float64 boxes, converted all at once where they are COCO's."""
    if {a["bbox_mode"] for a in annotations} == {BoxMode.XYWH_ABS}:
        # In float32, as Detectron2 converts them.
        boxes = np.array([a["bbox"] for a in annotations], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes.astype(np.float64)
    listed = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    return np.array(listed, dtype=np.float64).reshape(-1, 4)


def _boxes_of_polygons(masks: Sequence[Sequence[np.ndarray]]) -> Boxes:
    """Around all polygons of each mask, several times faster than ``PolygonMasks`` does it."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, polygons in zip(boxes, masks, strict=True):
        points = np.concatenate(polygons).reshape(-1, 2).astype(np.float32)
        box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
    return Boxes(torch.from_numpy(boxes))


def paste_objects(scene: _Scene, other: _Scene, chosen: np.ndarray) -> _Scene:
    """``scene`` with objects of ``other`` laid over it, corner on corner; empty masks may remain.

    Args:
        scene: whose masks lose what is hidden.
        other: of any size.
        chosen: indices of its objects.
    """
    assert scene.shapes is not None
    assert other.shapes is not None
    size = (scene.image.shape[0], scene.image.shape[1])
    height, width = np.minimum(size, other.image.shape[:2])
    pasted = np.zeros((len(chosen), *size), dtype=bool)
    shapes = [other.shapes[i] for i in chosen]
    visible = render(shapes, (other.image.shape[0], other.image.shape[1]))
    pasted[:, :height, :width] = visible[:, :height, :width]
    covered: np.ndarray = np.logical_or.reduce(pasted, axis=0)
    masks = np.concatenate((render(scene.shapes, size) & ~covered, pasted)).view(np.uint8)
    corner = covered[:height, :width]
    sem_seg = scene.sem_seg
    if sem_seg is not None and other.sem_seg is not None:
        sem_seg = paste_pixels(sem_seg, other.sem_seg, corner)
    return _Scene(
        paste_pixels(scene.image, other.image, corner),
        np.concatenate((scene.classes, other.classes[chosen])),
        np.concatenate((scene.boxes_xyxy, other.boxes_xyxy[chosen])),
        list(masks),
        sem_seg,
    )


def _polygons(shape: Shape, size: tuple[int, int]) -> list[np.ndarray]:
    if not isinstance(shape, list):
        raise UserError(
            "An annotation is a run-length encoding: set INPUT.MASK_FORMAT to 'bitmask'."
        )
    return [polygon.ravel() for polygon in clip_polygons(shape, size)]
