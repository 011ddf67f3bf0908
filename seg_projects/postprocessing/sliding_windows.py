"""Class scores of an image larger than the network should see at once.

Legend: C channels, K classes, H x W the image, h x w a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor


def window_offsets(length: int, window: int, *, overlap: float) -> list[int]:
    """First pixels of the windows that cover ``length`` pixels, evenly spread.

    Args:
        length: of the image, in pixels.
        window: of a window, in pixels.
        overlap: in [0, 1), the least share of a window that the next one covers too.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap={overlap} is outside [0, 1); 0.25 is usual.")
    rest = max(0, length - window)
    gaps = max(1, math.ceil(rest / max(1, largest_step(window, overlap))))
    return sorted({round(i * rest / gaps) for i in range(gaps + 1)})


def largest_step(window: int, overlap: float) -> int:
    """By how many pixels a window may move so that the share ``overlap`` stays covered; 0: none."""
    # The sum may be off by a rounding: 10 pixels overlap by 0.9 at a step of 1.
    return math.floor(window * (1 - overlap) + 1e-6)


def sliding_window_scores(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    *,
    window: tuple[int, int],
    overlap: float,
    batch_size: int,
) -> Tensor:
    """Scores of overlapping windows, blended: a window weighs less towards its edges.

    Args:
        image: (C, H, W).
        predict: from windows (N, C, h, w) to scores (N, K, h, w).
        window: h and w; cut to the image where that is smaller.
        overlap: in [0, 1), the least share that neighbours have in common, per axis.
        batch_size: windows given to ``predict`` at once.

    Returns:
        (K, H, W) float32, the weighted mean of the scores of all windows over a pixel.
    """
    height, width = image.shape[-2:]
    h, w = min(window[0], height), min(window[1], width)
    corners = list(
        product(
            window_offsets(height, h, overlap=overlap), window_offsets(width, w, overlap=overlap)
        )
    )
    weight = _ramp(h, image.device)[:, None] * _ramp(w, image.device)
    total = image.new_zeros((0,), dtype=torch.float32)
    weights = image.new_zeros((height, width), dtype=torch.float32)
    for start in range(0, len(corners), batch_size):
        chosen = corners[start : start + batch_size]
        scores = predict(torch.stack([image[:, y : y + h, x : x + w] for y, x in chosen])).float()
        if start == 0:
            total = scores.new_zeros((scores.shape[1], height, width))
        for one, (y, x) in zip(scores, chosen, strict=True):
            total[:, y : y + h, x : x + w] += one * weight
            weights[y : y + h, x : x + w] += weight
    return total / weights


def _ramp(length: int, device: torch.device) -> Tensor:
    """(length,) weights that fall linearly from 1 in the middle to the edges, never to 0."""
    at = torch.arange(length, device=device, dtype=torch.float32)
    distance = torch.minimum(at + 1, length - at)
    return distance / distance.max()
