"""Boxes as deltas relative to reference boxes, and the losses on them.

R boxes are XYXY in pixels, of shape (R, 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from fvcore.nn import giou_loss, smooth_l1_loss
from torch import Tensor

from detectron2.layers import ciou_loss, diou_loss

__all__ = [
    "Box2BoxTransform",
    "Box2BoxTransformLinear",
    "BoxTransform",
    "box_regression_loss",
]

# exp(clamp) enlarges a 16 pixel anchor to 1000 pixels: more than a sensible box ever needs.
_DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)

_OVERLAP_LOSSES: dict[str, Callable[..., Tensor]] = {
    "giou": giou_loss,
    "diou": diou_loss,
    "ciou": ciou_loss,
}


class BoxTransform(Protocol):
    """What turns boxes into deltas and back."""

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """(R, 4) deltas that lead from ``src_boxes`` to ``target_boxes``."""

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The boxes to which ``deltas`` lead from ``boxes``."""


class Box2BoxTransform:
    """Deltas (dx, dy, dw, dh): shifts in box sizes, logarithms of scales (arXiv:1311.2524, C)."""

    def __init__(
        self,
        weights: tuple[float, float, float, float],
        scale_clamp: float = _DEFAULT_SCALE_CLAMP,
    ) -> None:
        """Keeps the factors of the deltas.

        Args:
            weights: factors of (dx, dy, dw, dh), which bring them to about unit variance.
            scale_clamp: the largest dw and dh, after division by their weights, when applied.
        """
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """(R, 4) deltas that lead from ``src_boxes``, of positive size, to ``target_boxes``."""
        assert isinstance(src_boxes, Tensor), type(src_boxes)
        assert isinstance(target_boxes, Tensor), type(target_boxes)
        src_centers, src_sizes = _centers_and_sizes(src_boxes)
        assert bool((src_sizes > 0).all()), "a box without width or height has no deltas"
        target_centers, target_sizes = _centers_and_sizes(target_boxes)
        wx, wy, ww, wh = self.weights
        dx, dy = ((target_centers - src_centers) / src_sizes).unbind(dim=1)
        dw, dh = torch.log(target_sizes / src_sizes).unbind(dim=1)
        return torch.stack((wx * dx, wy * dy, ww * dw, wh * dh), dim=1)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Moves and scales ``boxes``; the result is float32.

        Args:
            deltas: (R, K * 4), K candidate deltas for each box, K >= 1.
            boxes: (R, 4).

        Returns:
            (R, K * 4) boxes, not clipped to an image.
        """
        deltas = deltas.float()  # half precision could not hold pixel coordinates
        centers, sizes = _centers_and_sizes(boxes.to(deltas.dtype))
        wx, wy, ww, wh = self.weights
        dx, dy = deltas[:, 0::4] / wx, deltas[:, 1::4] / wy
        dw = (deltas[:, 2::4] / ww).clamp(max=self.scale_clamp)
        dh = (deltas[:, 3::4] / wh).clamp(max=self.scale_clamp)

        center_x = dx * sizes[:, 0, None] + centers[:, 0, None]  # (R, K)
        center_y = dy * sizes[:, 1, None] + centers[:, 1, None]
        half_width = 0.5 * (torch.exp(dw) * sizes[:, 0, None])
        half_height = 0.5 * (torch.exp(dh) * sizes[:, 1, None])
        corners = (
            center_x - half_width,
            center_y - half_height,
            center_x + half_width,
            center_y + half_height,
        )
        return torch.stack(corners, dim=-1).reshape(deltas.shape)


class Box2BoxTransformLinear:
    """Deltas (l, t, r, b): distances from the box's centre to the target's sides."""

    def __init__(self, normalize_by_size: bool = True) -> None:
        """Keeps the unit of the distances.

        Args:
            normalize_by_size: distances are in units of the box's width and height, not in pixels.
        """
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """(R, 4) distances from the centres of ``src_boxes`` to the sides of ``target_boxes``.

        A negative distance means that the centre lies outside the target.
        """
        assert isinstance(src_boxes, Tensor), type(src_boxes)
        assert isinstance(target_boxes, Tensor), type(target_boxes)
        centers, sizes = _centers_and_sizes(src_boxes)
        deltas = torch.cat((centers - target_boxes[:, :2], target_boxes[:, 2:] - centers), dim=1)
        return deltas / sizes.repeat(1, 2) if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """(R, K * 4) boxes around the centres of the (R, 4) ``boxes``, float32.

        Args:
            deltas: (R, K * 4) distances; negative ones count as 0.
            boxes: (R, 4).
        """
        distances = deltas.float().relu().unflatten(1, (-1, 2, 2))  # (R, K, low / high, x / y)
        centers, sizes = _centers_and_sizes(boxes.to(distances.dtype))
        if self.normalize_by_size:
            distances = distances * sizes[:, None, None]
        low, high = distances.unbind(dim=2)
        centers = centers[:, None]
        return torch.cat((centers - low, centers + high), dim=-1).reshape(deltas.shape)


def box_regression_loss(
    transform: BoxTransform,
    src_boxes: Tensor,
    pred_deltas: Tensor,
    target_boxes: Tensor,
    *,
    loss_type: str,
    smooth_l1_beta: float,
) -> Tensor:
    """Sum of the losses of R predicted deltas, each for one box and its target.

    Args:
        transform: what gives the deltas their meaning.
        src_boxes: (R, 4) reference boxes.
        pred_deltas: (R, 4).
        target_boxes: (R, 4).
        loss_type: ``smooth_l1`` compares deltas; ``giou``, ``diou`` and ``ciou`` compare boxes.
        smooth_l1_beta: where ``smooth_l1`` changes from quadratic to linear; 0 makes it L1.
    """
    if loss_type == "smooth_l1":
        targets = transform.get_deltas(src_boxes, target_boxes)
        return smooth_l1_loss(pred_deltas, targets, beta=smooth_l1_beta, reduction="sum")
    if loss_type not in _OVERLAP_LOSSES:
        known = ["smooth_l1", *_OVERLAP_LOSSES]
        raise ValueError(f"BBOX_REG_LOSS_TYPE={loss_type!r} is unknown; it is one of {known}.")
    pred_boxes = transform.apply_deltas(pred_deltas, src_boxes)
    return _OVERLAP_LOSSES[loss_type](pred_boxes, target_boxes, reduction="sum")


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(R, 2) centres (x, y) and (R, 2) sizes (width, height)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * sizes, sizes
