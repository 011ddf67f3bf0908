"""Masks of the instances of one image: as bitmaps, as polygons, or within their boxes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.structures.boxes import Boxes

Polygon = np.ndarray
"""(2P,) float64 corners x0, y0, x1, y1, ... in pixels, P >= 3."""


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    """The area inside a simple polygon of (P,) corners x and y (the shoelace formula)."""
    return 0.5 * np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """(height, width) bool: the union of the polygons, rasterised by pycocotools."""
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    from pycocotools import mask as coco_mask

    runs = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return coco_mask.decode(runs).astype(bool)


def rasterize_polygons_within_box(
    polygons: list[np.ndarray], box: np.ndarray, mask_size: int
) -> Tensor:
    """(mask_size, mask_size) bool: the part of the polygons within a box, stretched to a square.

    Args:
        polygons: the polygons of one instance.
        box: (4,) XYXY in pixels. A side below 0.1 pixels counts as 0.1.
        mask_size: pixels per side of the result.
    """
    corner = np.asarray(box)[:2]
    sides = np.asarray(box)[2:] - corner
    # In the precision of the box, as upstream: corners on the border of two pixels fall alike.
    ratio = np.asarray([mask_size / max(side, 0.1) for side in sides], dtype=np.float64)
    local = [((np.reshape(p, (-1, 2)) - corner) * ratio).reshape(-1) for p in polygons]
    return torch.from_numpy(polygons_to_bitmask(local, mask_size, mask_size))


class BitMasks:
    """N masks of the size of the image, as one bool tensor of shape (N, H, W)."""

    tensor: Tensor

    def __init__(self, tensor: Tensor | np.ndarray) -> None:
        """Takes (N, H, W) values; what is not 0 is in the mask."""
        tensor = torch.as_tensor(tensor, dtype=torch.bool)
        assert tensor.dim() == 3, f"BitMasks want shape (N, H, W), not {tuple(tensor.shape)}."
        self.image_size = tensor.shape[1:]
        self.tensor = tensor

    def to(self, *args: Any, **kwargs: Any) -> BitMasks:
        """The masks after ``Tensor.to`` of these arguments."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the tensor lives."""
        return self.tensor.device

    def __getitem__(self, item: int | slice | torch.BoolTensor) -> BitMasks:
        """The masks at an int (as one mask), slice, bool mask or index tensor."""
        if isinstance(item, int):
            return BitMasks(self.tensor[item].unsqueeze(0))
        masks = self.tensor[item]
        assert masks.dim() == 3, (
            f"BitMasks[{item}] has shape {tuple(masks.shape)}; index with an int, slice or 1-D "
            "tensor."
        )
        return BitMasks(masks)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields each mask as a tensor of shape (H, W)."""
        yield from self.tensor

    def __repr__(self) -> str:
        """The number of masks."""
        return f"BitMasks(num_instances={len(self)})"

    def __len__(self) -> int:
        """N."""
        return self.tensor.shape[0]

    def nonempty(self) -> Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    def from_polygon_masks(
        polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int
    ) -> BitMasks:
        """The masks of N instances given as polygons."""
        if isinstance(polygon_masks, PolygonMasks):
            polygon_masks = polygon_masks.polygons
        masks = np.zeros((len(polygon_masks), height, width), dtype=bool)
        for mask, polygons in zip(masks, polygon_masks, strict=True):
            mask[:] = polygons_to_bitmask(polygons, height, width)
        return BitMasks(torch.from_numpy(masks))

    @staticmethod
    def from_roi_masks(roi_masks: ROIMasks, height: int, width: int) -> BitMasks:
        """Always a TypeError, as upstream: masks within boxes do not know their boxes."""
        raise TypeError(
            f"{roi_masks} have no boxes to be pasted into {height} x {width} pixels; use "
            "ROIMasks.to_bitmasks(boxes, height, width)."
        )

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """(N, mask_size, mask_size) bool: mask i within box i, by averaging (ROIAlign).

        Args:
            boxes: (N, 4) XYXY in pixels.
            mask_size: pixels per side of the result.
        """
        assert len(boxes) == len(self), f"{len(self)} masks want as many boxes, not {len(boxes)}."
        from torchvision.ops import roi_align

        boxes = boxes.to(self.device)
        indices = torch.arange(len(boxes), device=self.device, dtype=boxes.dtype)
        rois = torch.cat((indices[:, None], boxes), dim=1).float()
        crops = roi_align(
            self.tensor[:, None].float(), rois, mask_size, sampling_ratio=0, aligned=True
        )
        return crops.squeeze(1) >= 0.5

    def get_bounding_boxes(self) -> Boxes:
        """The tightest box around each mask, its far edges behind the last pixel; 0s if empty."""
        x0, x1 = _extent(self.tensor.any(dim=1))
        y0, y1 = _extent(self.tensor.any(dim=2))
        return Boxes(torch.stack((x0, y0, x1, y1), dim=1).float())

    @staticmethod
    def cat(bitmasks_list: list[BitMasks]) -> BitMasks:
        """All masks of a list, in its order; a list of one gives its object's tensor anew."""
        _check_parts(bitmasks_list, BitMasks)
        return BitMasks(torch.cat([part.tensor for part in bitmasks_list], dim=0))


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First True, and one after the last, of each row of (N, L) bool; (0, 0) without any."""
    length = occupied.shape[1]
    places = torch.arange(1, length + 1, device=occupied.device) * occupied
    # The zero beside the places stands for a row without any, and for L = 0.
    stop = torch.cat((places, places.new_zeros(len(places), 1)), dim=1).amax(dim=1)
    backwards = (length + 1 - torch.arange(1, length + 1, device=occupied.device)) * occupied
    start = torch.cat((backwards, backwards.new_zeros(len(places), 1)), dim=1).amax(dim=1)
    return torch.where(stop > 0, length - start, 0), stop


def _check_parts(parts: list[Any], kind: type) -> None:
    name = kind.__name__
    assert isinstance(parts, (list, tuple)), f"{name}.cat joins a list, not {parts!r}."
    assert parts, f"{name}.cat needs at least one {name}."
    assert all(isinstance(part, kind) for part in parts), (
        f"{name}.cat joins {name} only, not {sorted({type(p).__name__ for p in parts})}."
    )


class PolygonMasks:
    """N masks, each the union of polygons in absolute pixel coordinates.

    Attributes:
        polygons: per instance a list of (2P,) float64 arrays x0, y0, x1, y1, ...
    """

    def __init__(self, polygons: list[list[Tensor | np.ndarray]]) -> None:
        """Takes, per instance, a list of polygons: arrays, tensors or lists of numbers."""
        if not isinstance(polygons, list):
            raise ValueError(
                f"PolygonMasks want a list of instances, each a list of polygons, not {polygons!r}."
            )
        self.polygons = [_checked_polygons(instance) for instance in polygons]

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Itself: polygons stay in main memory."""
        return self

    @property
    def device(self) -> torch.device:
        """The CPU, always."""
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """The tightest box around each instance's corners; zeros without polygons."""
        boxes = np.zeros((len(self), 4), dtype=np.float32)
        for box, polygons in zip(boxes, self.polygons, strict=True):
            if polygons:
                corners = np.concatenate(polygons).reshape(-1, 2)
                box[:2], box[2:] = corners.min(axis=0), corners.max(axis=0)
        return Boxes(torch.from_numpy(boxes))

    def nonempty(self) -> Tensor:
        """(N,) bool: the instance has a polygon."""
        return torch.tensor([len(polygons) > 0 for polygons in self.polygons], dtype=torch.bool)

    def __getitem__(self, item: int | slice | list[int] | torch.BoolTensor) -> PolygonMasks:
        """The instances at an int (as one), slice, list of ints, bool mask or index tensor."""
        if isinstance(item, int):
            return self._select([self.polygons[item]])
        if isinstance(item, slice):
            return self._select(self.polygons[item])
        picks = item.cpu().numpy() if isinstance(item, Tensor) else np.asarray(item)
        if picks.ndim != 1 or (picks.dtype.kind not in "bi" and picks.size):
            raise ValueError(
                f"PolygonMasks take no index of dtype {picks.dtype} and shape {picks.shape}; index "
                "with an int, slice, or 1-D bools or ints."
            )
        if picks.dtype.kind == "b":
            picks = picks.nonzero()[0]
        return self._select([self.polygons[pick] for pick in picks.tolist()])

    def _select(self, polygons: list[list[np.ndarray]]) -> PolygonMasks:
        selected = PolygonMasks([])
        selected.polygons = polygons
        return selected

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yields the polygons of each instance."""
        return iter(self.polygons)

    def __repr__(self) -> str:
        """The number of instances."""
        return f"PolygonMasks(num_instances={len(self)})"

    def __len__(self) -> int:
        """N."""
        return len(self.polygons)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """(N, mask_size, mask_size) bool, on the device of the boxes: instance i within box i.

        Args:
            boxes: ``Boxes``, or (N, 4) XYXY in pixels.
            mask_size: pixels per side of the result.
        """
        assert len(boxes) == len(self), f"{len(self)} masks want as many boxes, not {len(boxes)}."
        boxes = boxes.tensor if isinstance(boxes, Boxes) else boxes
        crops = torch.zeros(len(self), mask_size, mask_size, dtype=torch.bool)
        corners = boxes.detach().cpu().numpy()
        for crop, polygons, box in zip(crops, self.polygons, corners, strict=True):
            crop.copy_(rasterize_polygons_within_box(polygons, box, mask_size))
        return crops.to(boxes.device)

    def area(self) -> Tensor:
        """(N,) float64 sums of the areas of each instance's polygons; overlaps count twice."""
        areas = [
            sum(polygon_area(polygon[0::2], polygon[1::2]) for polygon in polygons)
            for polygons in self.polygons
        ]
        return torch.tensor(areas, dtype=torch.float64)

    @staticmethod
    def cat(polymasks_list: list[PolygonMasks]) -> PolygonMasks:
        """All instances of a list, in its order."""
        _check_parts(polymasks_list, PolygonMasks)
        first = polymasks_list[0]
        return first._select(
            list(itertools.chain.from_iterable(p.polygons for p in polymasks_list))
        )


def _checked_polygons(polygons: list[Any]) -> list[np.ndarray]:
    if not isinstance(polygons, list):
        raise ValueError(f"the polygons of an instance are a list of arrays, not {polygons!r}.")
    return [_checked_polygon(polygon) for polygon in polygons]


def _checked_polygon(polygon: Any) -> np.ndarray:
    if isinstance(polygon, Tensor):
        polygon = polygon.detach().cpu().numpy()
    corners = np.asarray(polygon).astype(np.float64)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"a polygon is a flat x0, y0, x1, y1, ... of at least 6 coordinates, an even number; "
            f"this one has shape {corners.shape}."
        )
    return corners


class ROIMasks:
    """N masks, each in the frame of its box, as one tensor of shape (N, M, M) in [0, 1]."""

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        """Wraps (N, M, M) values without a copy."""
        if tensor.dim() != 3:
            raise ValueError(f"ROIMasks want shape (N, M, M), not {tuple(tensor.shape)}.")
        self.tensor = tensor

    def to(self, device: torch.device) -> ROIMasks:
        """The masks on ``device``."""
        return ROIMasks(self.tensor.to(device))

    @property
    def device(self) -> torch.device:
        """Where the tensor lives."""
        return self.tensor.device

    def __len__(self) -> int:
        """N."""
        return self.tensor.shape[0]

    def __getitem__(self, item: Any) -> ROIMasks:
        """The masks at a slice, bool mask or index tensor."""
        masks = self.tensor[item]
        if masks.dim() != 3:
            raise ValueError(
                f"ROIMasks[{item}] has shape {tuple(masks.shape)}; index with a slice or tensor."
            )
        return ROIMasks(masks)

    def __repr__(self) -> str:
        """The number of masks."""
        return f"ROIMasks(num_instances={len(self)})"

    def to_bitmasks(
        self, boxes: Tensor, height: int, width: int, threshold: float = 0.5
    ) -> BitMasks:
        """The masks pasted into an image.

        Args:
            boxes: ``Boxes``, or (N, 4) XYXY in pixels: the box of each mask.
            height: of the image.
            width: of the image.
            threshold: pixels of at least this value are set.
        """
        from detectron2.layers.mask_ops import paste_masks_in_image

        return BitMasks(paste_masks_in_image(self.tensor, boxes, (height, width), threshold))
