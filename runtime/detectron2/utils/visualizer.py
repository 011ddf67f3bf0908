"""Draws instances, labels and segments over images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import Enum, unique
from typing import Any

import numpy as np
import torch

from detectron2.data.catalog import Metadata, MetadataCatalog
from detectron2.structures.boxes import Boxes, BoxMode
from detectron2.structures.instances import Instances
from detectron2.structures.masks import BitMasks, PolygonMasks
from detectron2.utils.colormap import random_color
from detectron2.utils.drawing import (
    RGB,
    Color,
    GenericMask,
    Painter,
    VisImage,
    change_brightness,
    middle,
)
from detectron2.utils.file_io import PathManager

__all__ = ["ColorMode", "VisImage", "Visualizer"]

logger = logging.getLogger(__name__)

_OFF_WHITE: RGB = (1.0, 1.0, 240.0 / 255)
_SMALL_AREA = 1000  # square pixels of the drawing
_SMALL_HEIGHT = 40  # pixels of the drawing


@unique
class ColorMode(Enum):
    """How instances are colored."""

    IMAGE = 0
    """Each instance in a color of its own, over the image."""
    SEGMENTATION = 1
    """Each instance near the color of its class."""
    IMAGE_BW = 2
    """As ``IMAGE``, over an image that is gray where nothing was found."""


class Visualizer(Painter):
    """Draws predictions or annotations of one image, over what was drawn before."""

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Metadata | None = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        """Starts from an image without drawings.

        Args:
            img_rgb: (H, W, 3) RGB in [0, 255]; values beyond are cut.
            metadata: names and colors of classes, as ``MetadataCatalog.get`` gives them.
            scale: how many times as large the drawing is.
            instance_mode: how instances are colored.
            font_size_scale: enlarges the text.
        """
        self.img = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        self.metadata = MetadataCatalog.get("__nonexist__") if metadata is None else metadata
        height, width = self.img.shape[:2]
        font_size = max(np.sqrt(height * width) // 90, 10 // scale) * font_size_scale
        super().__init__(VisImage(self.img, scale=scale), font_size)
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draws the detections of a model.

        Args:
            predictions: with any of ``pred_boxes``, ``pred_classes``, ``scores``, ``pred_masks``.
            jittering: class colors (``ColorMode.SEGMENTATION``) vary between instances.
        """
        fields = predictions.get_fields()
        classes = fields["pred_classes"].tolist() if "pred_classes" in fields else None
        masks = None
        if "pred_masks" in fields:
            masks = self._generic_masks(fields["pred_masks"])
        colors, alpha = None, 0.5
        if self._instance_mode == ColorMode.SEGMENTATION and classes is not None:
            colors, alpha = self._thing_colors(classes, jittering=jittering), 0.8
        if self._instance_mode == ColorMode.IMAGE_BW:
            found = [mask.mask for mask in masks or []]
            self._gray_out(np.any(found, axis=0) if found else None)
            alpha = 0.3
        names = self._names("thing_classes")
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=_text_labels(classes, fields.get("scores"), names),
            masks=masks,
            assigned_colors=colors,
            alpha=alpha,
        )

    def draw_sem_seg(
        self,
        sem_seg: np.ndarray | torch.Tensor,
        area_threshold: int | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: Color = _OFF_WHITE,
    ) -> VisImage:
        """Draws a map of classes, the largest first.

        Args:
            sem_seg: (H, W) class ids; ids without a name in ``stuff_classes`` are left out.
            area_threshold: outlines of fewer square pixels are left out.
            alpha: opacity in [0, 1].
            draw_text: writes the names of the classes.
            edge_color: of the outlines.
        """
        sem_seg = _array(sem_seg)
        names = self.metadata.stuff_classes
        labels, areas = np.unique(sem_seg, return_counts=True)
        for label in labels[np.argsort(-areas, kind="stable")].tolist():
            if not 0 <= label < len(names):
                continue
            self.draw_binary_mask(
                sem_seg == label,
                color=self._class_color("stuff_colors", label),
                edge_color=edge_color,
                text=names[label] if draw_text else None,
                alpha=alpha,
                area_threshold=area_threshold,
            )
        return self.output

    def draw_panoptic_seg(
        self,
        panoptic_seg: torch.Tensor,
        segments_info: list[dict[str, Any]] | None,
        area_threshold: int | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """Draws stuff, then things over it.

        Args:
            panoptic_seg: (H, W) segment ids.
            segments_info: a dict per segment with ``id``, ``category_id``, ``isthing`` and, if
                known, ``score`` and ``iscrowd``. None takes the category of an id as the quotient
                by the metadata's ``label_divisor``, -1 as void.
            area_threshold: outlines of stuff of fewer square pixels are left out.
            alpha: opacity in [0, 1].
        """
        segment_ids = _array(panoptic_seg)
        if segments_info is None:
            segments_info = self._segments_of(segment_ids)
        present = set(np.unique(segment_ids).tolist())
        segments = [segment for segment in segments_info if segment["id"] in present]
        if self._instance_mode == ColorMode.IMAGE_BW:
            self._gray_out(np.isin(segment_ids, [segment["id"] for segment in segments]))
        for segment in segments:
            if segment["isthing"]:
                continue
            self.draw_binary_mask(
                segment_ids == segment["id"],
                color=self._class_color("stuff_colors", segment["category_id"]),
                edge_color=_OFF_WHITE,
                text=self.metadata.stuff_classes[segment["category_id"]],
                alpha=alpha,
                area_threshold=area_threshold,
            )
        things = [segment for segment in segments if segment["isthing"]]
        if not things:
            return self.output
        classes = [segment["category_id"] for segment in things]
        scores = [segment["score"] for segment in things if "score" in segment]
        return self.overlay_instances(
            masks=[segment_ids == segment["id"] for segment in things],
            labels=_text_labels(
                classes,
                scores if len(scores) == len(things) else None,
                self._names("thing_classes"),
                [segment.get("iscrowd", 0) for segment in things],
            ),
            assigned_colors=self._thing_colors(classes),
            alpha=alpha,
        )

    draw_panoptic_seg_predictions = draw_panoptic_seg

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draws the annotations of a record in Detectron2's standard format."""
        annotations = dic.get("annotations")
        if annotations:
            classes = [annotation["category_id"] for annotation in annotations]
            crowd = [annotation.get("iscrowd", 0) for annotation in annotations]
            colors = None
            if self._instance_mode == ColorMode.SEGMENTATION:
                colors = self._thing_colors(classes)
            masks = None
            if "segmentation" in annotations[0]:
                masks = [annotation["segmentation"] for annotation in annotations]
            self.overlay_instances(
                boxes=np.array(
                    [
                        BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
                        for a in annotations
                    ]
                ),
                labels=_text_labels(classes, None, self._names("thing_classes"), crowd),
                masks=masks,
                assigned_colors=colors,
            )
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            sem_seg = _read_png(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        panoptic_seg = dic.get("pan_seg")
        if panoptic_seg is None and "pan_seg_file_name" in dic:
            # The COCO panoptic format: id = R + 256 G + 256^2 B.
            panoptic_seg = _read_png(dic["pan_seg_file_name"]).astype(np.int32) @ (1, 256, 256**2)
        if panoptic_seg is not None:
            self.draw_panoptic_seg(panoptic_seg, dic["segments_info"], area_threshold=0, alpha=0.5)
        return self.output

    def overlay_instances(
        self,
        *,
        boxes: Boxes | np.ndarray | None = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: None = None,
        assigned_colors: Sequence[Color] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draws N instances, the largest first.

        Args:
            boxes: ``Boxes``, or (N, 4) XYXY.
            labels: a text for each.
            masks: ``BitMasks``, ``PolygonMasks``, an (N, H, W) array or tensor, or a list of what
                :class:`GenericMask` takes.
            keypoints: None; keypoints are outside of this runtime.
            assigned_colors: a color for each; random ones without.
            alpha: opacity of the masks in [0, 1].
        """
        if keypoints is not None:
            raise NotImplementedError("keypoints are not drawn; pass boxes and masks only.")
        corners = None if boxes is None else _corners(boxes)
        shapes = None if masks is None else self._generic_masks(masks)
        counts = {
            len(part) for part in (corners, shapes, labels, assigned_colors) if part is not None
        }
        assert len(counts) <= 1, f"boxes, masks, labels and colors differ in number: {counts}"
        if not counts or counts == {0}:
            return self.output
        count = counts.pop()
        if assigned_colors is None:
            assigned_colors = [random_color(rgb=True, maximum=1) for _ in range(count)]
        for index in _largest_first(corners, shapes, count):
            color = assigned_colors[index]
            if corners is not None:
                self.draw_box(corners[index], edge_color=color)
            if shapes is not None:
                self._draw_outlines(_outlines(shapes[index]), color, color, alpha)
            if labels is not None:
                self._draw_instance_label(
                    labels[index],
                    None if corners is None else corners[index],
                    None if shapes is None else shapes[index],
                    color,
                )
        return self.output

    def _draw_instance_label(
        self, text: str, box: np.ndarray | None, mask: GenericMask | None, color: Color
    ) -> None:
        """Writes at the corner of the box, else in the middle of the mask; beside what is small."""
        output = self.output
        if box is not None:
            x0, y0, x1, y1 = box
            position, alignment = (x0, y0), "left"
        elif mask is not None and mask.polygons:
            x0, y0, x1, y1 = mask.bbox()
            position, alignment = middle(mask.mask), "center"
        else:
            return
        height = y1 - y0
        is_small = (x1 - x0) * height < _SMALL_AREA * output.scale
        if is_small or height < _SMALL_HEIGHT * output.scale:
            position = (x1, y0) if y1 >= output.height - 5 else (x0, y1)
        # From 0.6 to 1 times the usual size, by the share of the image that the instance fills.
        share = height / np.sqrt(output.height * output.width)
        size = np.clip((share - 0.02) / 0.08 + 1, 1.2, 2) * 0.5 * self._default_font_size
        self.draw_text(
            text,
            position,
            color=change_brightness(color, 0.7),
            horizontal_alignment=alignment,
            font_size=size,
        )

    def _generic_masks(self, masks: Any) -> list[GenericMask]:
        if isinstance(masks, PolygonMasks):
            masks = masks.polygons
        elif isinstance(masks, BitMasks):
            masks = masks.tensor
        if isinstance(masks, torch.Tensor):
            masks = _array(masks)
        height, width = self.output.height, self.output.width
        return [
            mask if isinstance(mask, GenericMask) else GenericMask(mask, height, width)
            for mask in masks
        ]

    def _names(self, key: str) -> list[str] | None:
        return self.metadata.get(key, None)

    def _class_color(self, key: str, label: int) -> RGB | None:
        """The color of a class in [0, 1]; None where the metadata have none."""
        colors = self.metadata.get(key, None) or []
        return tuple(channel / 255 for channel in colors[label]) if label < len(colors) else None

    def _thing_colors(self, classes: list[int], *, jittering: bool = True) -> list[RGB] | None:
        """A color for each instance, that of its class or near it; None without metadata."""
        colors = [self._class_color("thing_colors", label) for label in classes]
        known = [color for color in colors if color is not None]
        if len(known) < len(colors):
            return None
        return [_jittered(color) for color in known] if jittering else known

    def _gray_out(self, kept: np.ndarray | None) -> None:
        """Turns the image below the drawing gray but for the (H, W) bool pixels ``kept``."""
        image = np.repeat(self.img.mean(axis=2, keepdims=True, dtype=np.float32), 3, axis=2)
        if kept is not None:
            image[kept.astype(bool)] = self.img[kept.astype(bool)]
        self.output.reset_image(image)

    def _segments_of(self, segment_ids: np.ndarray) -> list[dict[str, Any]]:
        """Segments of ids that are category * ``label_divisor`` + instance; -1 is void."""
        divisor = self.metadata.label_divisor
        things = set(self.metadata.thing_dataset_id_to_contiguous_id.values())
        return [
            {"id": label, "category_id": label // divisor, "isthing": label // divisor in things}
            for label in np.unique(segment_ids).tolist()
            if label != -1
        ]


def _array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _corners(boxes: Boxes | np.ndarray) -> np.ndarray:
    return _array(boxes.tensor if isinstance(boxes, Boxes) else boxes).reshape(-1, 4)


def _outlines(mask: GenericMask) -> list[np.ndarray]:
    """Outlines of which only those of holes run the other way."""
    if mask.has_holes:
        return mask.polygons
    return [
        polygon if _runs_clockwise(polygon) else _reversed(polygon) for polygon in mask.polygons
    ]


def _runs_clockwise(polygon: np.ndarray) -> bool:
    x, y = polygon[0::2], polygon[1::2]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) >= 0


def _reversed(polygon: np.ndarray) -> np.ndarray:
    return polygon.reshape(-1, 2)[::-1].reshape(-1)


def _largest_first(
    boxes: np.ndarray | None, masks: list[GenericMask] | None, count: int
) -> list[int]:
    """Indices of the instances by falling area of their boxes, else of their masks."""
    if boxes is not None:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    elif masks is not None:
        areas = np.asarray([mask.area() for mask in masks], dtype=np.float64)
    else:
        areas = np.zeros(count)
    return np.argsort(-areas, kind="stable").tolist()


def _jittered(color: RGB) -> RGB:
    """A random color within 0.5 of ``color``, so that neighbours of one class differ."""
    # The global generator: that is what seeding the whole program seeds.
    direction = np.random.rand(3)  # noqa: NPY002
    direction = direction / np.linalg.norm(direction) * 0.5
    return tuple(np.clip(np.asarray(color) + direction, 0, 1).tolist())


def _text_labels(
    classes: list[int] | None,
    scores: Sequence[float] | torch.Tensor | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[int] | None = None,
) -> list[str] | None:
    """A text for each instance, as "person 90%" or "person|crowd"; None if nothing is known."""
    labels = None
    if classes is not None:
        labels = [class_names[label] if class_names else str(label) for label in classes]
    if scores is not None:
        percentages = [f"{score * 100:.0f}%" for score in torch.as_tensor(scores).tolist()]
        pairs = zip(labels, percentages, strict=True) if labels is not None else None
        labels = percentages if pairs is None else [" ".join(pair) for pair in pairs]
    if labels is not None and is_crowd is not None:
        labels = [
            f"{label}|crowd" if crowd else label
            for label, crowd in zip(labels, is_crowd, strict=True)
        ]
    return labels


def _read_png(path: str) -> np.ndarray:
    from PIL import Image

    with PathManager.open(path, "rb") as file:
        return np.asarray(Image.open(file))
