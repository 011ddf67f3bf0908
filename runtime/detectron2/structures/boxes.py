"""Axis-aligned boxes in continuous pixel coordinates, and the overlaps between sets of them.

N and M count boxes, P points. A box (x0, y0, x1, y1) covers [x0, x1] x [y0, y1]; a pixel (i, j) is
the unit square from (j, i) to (j + 1, i + 1), so widths are x1 - x0, without "+ 1".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, unique
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

RawBoxes = TypeVar("RawBoxes", list[float], tuple[float, ...], Tensor, np.ndarray)
Array = TypeVar("Array", Tensor, np.ndarray)


@unique
class BoxMode(IntEnum):
    """Ways to write a box as numbers; ``_ABS`` in pixels, ``_REL`` as fractions of the image."""

    XYXY_ABS = 0
    """(x0, y0, x1, y1)."""
    XYWH_ABS = 1
    """(x0, y0, width, height)."""
    XYXY_REL = 2
    """(x0, y0, x1, y1) in [0, 1]; not convertible."""
    XYWH_REL = 3
    """(x0, y0, width, height) in [0, 1]; not convertible."""
    XYWHA_ABS = 4
    """(x center, y center, width, height, counterclockwise degrees)."""

    @staticmethod
    def convert(box: RawBoxes, from_mode: BoxMode, to_mode: BoxMode) -> RawBoxes:
        """The same boxes in another mode, with the type and dtype of ``box``.

        Args:
            box: a list or tuple of 4 (5 with an angle) numbers, or (..., 4 or 5) boxes. It is
                returned itself when the modes are equal, else left alone. Floats of a list are
                rounded to float32.
            from_mode: the mode of ``box``.
            to_mode: the wanted mode.
        """
        if from_mode == to_mode:
            return box
        if isinstance(box, (list, tuple)):
            assert len(box) in (4, 5), (
                f"BoxMode.convert got {len(box)} numbers; a box has 4, or 5 with an angle."
            )
            values: np.ndarray = np.asarray(box)
            if values.dtype.kind == "f":
                values = values.astype(np.float32)
            numbers = _convert_array(values, from_mode, to_mode).tolist()
            return type(box)(numbers)
        return _convert_array(box, from_mode, to_mode)


def _convert_array(boxes: Array, from_mode: BoxMode, to_mode: BoxMode) -> Array:
    relative = {BoxMode.XYXY_REL, BoxMode.XYWH_REL}.intersection((from_mode, to_mode))
    assert not relative, (
        f"BoxMode.convert does not know relative modes; multiply by the image size: {relative}"
    )
    conversion = _CONVERSIONS.get((from_mode, to_mode))
    if conversion is None:
        raise NotImplementedError(f"no conversion of boxes from {from_mode!r} to {to_mode!r}")
    return conversion(boxes)


def _copy(boxes: Array) -> Array:
    return boxes.clone() if isinstance(boxes, Tensor) else boxes.copy()


def _xyxy_to_xywh(boxes: Array) -> Array:
    out = _copy(boxes)
    out[..., 2:4] -= out[..., 0:2]
    return out


def _xywh_to_xyxy(boxes: Array) -> Array:
    out = _copy(boxes)
    out[..., 2:4] += out[..., 0:2]
    return out


def _as_float64(boxes: Array) -> Tensor:
    return torch.as_tensor(boxes).double()


def _like(values: Tensor, template: Array) -> Array:
    if isinstance(template, Tensor):
        return values.to(template.dtype)
    return values.numpy().astype(template.dtype)


def _xywha_to_xyxy(boxes: Array) -> Array:
    """The smallest axis-aligned box around each rotated one."""
    assert boxes.shape[-1] == 5, f"XYWHA_ABS boxes have 5 numbers, not {boxes.shape[-1]}."
    center_x, center_y, width, height, degrees = _as_float64(boxes).unbind(-1)
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos().abs(), angle.sin().abs()
    half_x = (cos * width + sin * height) / 2
    half_y = (cos * height + sin * width) / 2
    corners = (center_x - half_x, center_y - half_y, center_x + half_x, center_y + half_y)
    return _like(torch.stack(corners, dim=-1), boxes)


def _xywh_to_xywha(boxes: Array) -> Array:
    assert boxes.shape[-1] == 4, f"XYWH_ABS boxes have 4 numbers, not {boxes.shape[-1]}."
    left, top, width, height = _as_float64(boxes).unbind(-1)
    rotated = (left + width / 2, top + height / 2, width, height, torch.zeros_like(left))
    return _like(torch.stack(rotated, dim=-1), boxes)


_CONVERSIONS = {
    (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS): _xyxy_to_xywh,
    (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS): _xywh_to_xyxy,
    (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS): _xywha_to_xyxy,
    (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS): _xywh_to_xywha,
}


class Boxes:
    """N boxes (x0, y0, x1, y1) as one float32 tensor of shape (N, 4)."""

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        """Wraps ``tensor`` without a copy when it is float32 already; lists and arrays also do."""
        if not isinstance(tensor, Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32)
        tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            # [] and (0,) are empty sets too; the reshape keeps the graph of the input alive.
            tensor = tensor.reshape(-1, 4)
        assert tensor.dim() == 2, f"Boxes want shape (N, 4), not {tuple(tensor.shape)}."
        assert tensor.size(-1) == 4, f"Boxes want shape (N, 4), not {tuple(tensor.shape)}."
        self.tensor = tensor

    def clone(self) -> Boxes:
        """Boxes with a tensor of their own."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device) -> Boxes:
        """The boxes on ``device``."""
        return Boxes(self.tensor.to(device=device))

    def area(self) -> Tensor:
        """(N,) areas in square pixels."""
        box = self.tensor
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limits the boxes, in place, to an image of ``box_size`` (height, width)."""
        assert torch.isfinite(self.tensor).all(), "Boxes with infinite or NaN corners have no clip."
        height, width = box_size
        x = self.tensor[:, 0::2].clamp(min=0, max=width)
        y = self.tensor[:, 1::2].clamp(min=0, max=height)
        self.tensor = torch.stack((x, y), dim=2).flatten(1)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: both sides are longer than ``threshold`` pixels."""
        box = self.tensor
        return (box[:, 2] - box[:, 0] > threshold) & (box[:, 3] - box[:, 1] > threshold)

    def __getitem__(self, item: Any) -> Boxes:
        """The boxes at an int (as one box), slice, bool mask or index tensor."""
        if isinstance(item, int):
            return Boxes(self.tensor[item].view(1, -1))
        box = self.tensor[item]
        assert box.dim() == 2, (
            f"Boxes[{item}] has shape {tuple(box.shape)}; index with an int, slice or 1-D tensor."
        )
        return Boxes(box)

    def __len__(self) -> int:
        """N."""
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        """The tensor, named."""
        return f"Boxes({self.tensor})"

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: float = 0) -> Tensor:
        """(N,) bool: inside an image of (height, width) grown by ``boundary_threshold`` pixels."""
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(1)
        return (
            (x0 >= -boundary_threshold)
            & (y0 >= -boundary_threshold)
            & (x1 < width + boundary_threshold)
            & (y1 < height + boundary_threshold)
        )

    def get_centers(self) -> Tensor:
        """(N, 2) centers (x, y)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiplies the coordinates in place, in the tensor itself."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod
    def cat(cls, boxes_list: list[Boxes]) -> Boxes:
        """All boxes of a list, in its order; a new tensor even for a list of one."""
        assert isinstance(boxes_list, (list, tuple)), f"not a list of Boxes: {boxes_list!r}"
        if not boxes_list:
            return cls(torch.empty(0))
        assert all(isinstance(boxes, Boxes) for boxes in boxes_list), (
            f"Boxes.cat joins Boxes only, not {sorted({type(b).__name__ for b in boxes_list})}."
        )
        return cls(torch.cat([boxes.tensor for boxes in boxes_list], dim=0))

    @property
    def device(self) -> torch.device:
        """Where the tensor lives."""
        return self.tensor.device

    def __iter__(self) -> Iterator[Tensor]:
        """Yields each box as a tensor of shape (4,)."""
        yield from self.tensor


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) areas that each of N boxes shares with each of M."""
    first, second = boxes1.tensor[:, None], boxes2.tensor[None]
    width = torch.minimum(first[..., 2], second[..., 2]) - torch.maximum(
        first[..., 0], second[..., 0]
    )
    height = torch.minimum(first[..., 3], second[..., 3]) - torch.maximum(
        first[..., 1], second[..., 1]
    )
    return width.clamp(min=0) * height.clamp(min=0)


def _ratio_or_zero(overlap: Tensor, whole: Tensor) -> Tensor:
    return torch.where(overlap > 0, overlap / whole, torch.zeros_like(overlap))


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over union, 0 where boxes do not meet."""
    overlap = pairwise_intersection(boxes1, boxes2)
    return _ratio_or_zero(overlap, boxes1.area()[:, None] + boxes2.area() - overlap)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over the area of the box of ``boxes2``, 0 where boxes do not meet."""
    overlap = pairwise_intersection(boxes1, boxes2)
    return _ratio_or_zero(overlap, boxes2.area().expand_as(overlap))


def pairwise_point_box_distance(points: Tensor, boxes: Boxes) -> Tensor:
    """(P, N, 4) distances from (P, 2) points (x, y) to the left, top, right and bottom edges.

    All four are positive exactly for a point inside the box.
    """
    position = points[:, None]  # (P, 1, 2)
    return torch.cat((position - boxes.tensor[:, :2], boxes.tensor[:, 2:] - position), dim=2)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N,) intersection over union of box i of both sets; NaN for two boxes without area."""
    assert len(boxes1) == len(boxes2), (
        f"matched boxes come in pairs; there are {len(boxes1)} and {len(boxes2)}."
    )
    first, second = boxes1.tensor, boxes2.tensor
    top_left = torch.maximum(first[:, :2], second[:, :2])
    bottom_right = torch.minimum(first[:, 2:], second[:, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    return overlap / (boxes1.area() + boxes2.area() - overlap)
