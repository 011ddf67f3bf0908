"""Class scores averaged over sizes and mirror images of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def augmented_scores(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    *,
    sizes: Sequence[tuple[int, int]],
    flip: bool,
) -> Tensor:
    """Mean of the scores at each size and, with ``flip``, of the mirror image at each.

    Args:
        image: (C, H, W).
        predict: from an image (C, h, w) to its scores (K, h, w).
        sizes: the h and w to look at, at least one.
        flip: whether each is also mirrored left to right.

    Returns:
        (K, H, W) float32.
    """
    size = (image.shape[-2], image.shape[-1])
    looks = [(wanted, mirrored) for wanted in sizes for mirrored in (False, True)[: 1 + flip]]
    total = torch.zeros((), device=image.device)
    for wanted, mirrored in looks:
        look = _resize(image, wanted)
        scores = predict(look.flip(-1)).flip(-1) if mirrored else predict(look)
        total = total + _resize(scores.float(), size)
    return total / len(looks)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if (x.shape[-2], x.shape[-1]) == size:
        return x
    resized = F.interpolate(
        x[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0]
