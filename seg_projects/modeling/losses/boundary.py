"""Boundary loss: probability weighted by its distance from the true boundary (arXiv:1812.07032).

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .labels import at_least_float32, label_planes


def boundary_loss(logits: Tensor, target: Tensor, *, ignore_value: int) -> Tensor:
    """Mean of probability times signed distance, in pixels, over pixels and classes (equation 5).

    It is negative where predicted regions lie inside the true ones. It says nothing where a class
    is absent or everywhere, so it stands beside a region loss such as Dice.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
    """
    logits = at_least_float32(logits)
    return _loss(logits.softmax(dim=1), target, ignore_value)


def sigmoid_boundary_loss(logits: Tensor, target: Tensor, *, ignore_value: int) -> Tensor:
    """:func:`boundary_loss` of K independent questions.

    Args:
        logits: (N, K, H, W) scores, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
    """
    logits = at_least_float32(logits)
    return _loss(logits.sigmoid(), target, ignore_value)


def _loss(probabilities: Tensor, target: Tensor, ignore_value: int) -> Tensor:
    labels, valid = label_planes(target, probabilities, ignore_value=ignore_value)
    distances = signed_distances(labels > 0, valid.expand_as(labels) > 0)
    return (probabilities * distances).sum() / valid.expand_as(labels).sum().clamp_min(1)


def signed_distances(regions: Tensor, valid: Tensor) -> Tensor:
    """Distance of each pixel from each region's boundary, in pixels, negative inside.

    Outside, it is the distance to the nearest pixel of the region; inside, one less than that to
    the nearest labelled pixel outside; 0 where ``valid`` is not, and in planes without a boundary.
    They are computed on the CPU: labels on another device are copied there and back.

    Args:
        regions: (N, K, H, W) bool, False where a pixel is not valid.
        valid: (N, K, H, W) bool.

    Returns:
        (N, K, H, W) float32 on the device of ``regions``.
    """
    # One copy, one wait.
    inside, labelled = torch.stack([regions, valid]).flatten(1, 2).cpu().numpy()
    outside = labelled & ~inside
    distances = np.zeros(inside.shape, dtype=np.float32)
    for plane, region, rest in zip(distances, inside, outside, strict=True):
        if region.any() and rest.any():
            plane[rest] = _distance_to(region)[rest]
            plane[region] = 1 - _distance_to(rest)[region]
    on_host = torch.from_numpy(distances).view(regions.shape)
    return on_host.to(regions.device, non_blocking=True)


def _distance_to(region: np.ndarray) -> np.ndarray:
    """Exact Euclidean distance of each pixel to the nearest one of ``region``, (H, W) float32."""
    import cv2

    return cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
