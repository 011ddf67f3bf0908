"""From labels of class and number, as Panoptic-DeepLab gives them, to segments."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor


def segments_of_labels(
    labels: Tensor, *, thing_classes: Collection[int], label_divisor: int
) -> tuple[Tensor, list[dict[str, Any]]]:
    """The (H, W) int32 map of segment ids from 1, 0 for void, and the segments by rising label.

    Args:
        labels: (H, W) integer, class * label_divisor + number; negative for void.
        thing_classes: classes that have instances.
        label_divisor: of the labels.

    Returns:
        The map, and per segment its ``id``, ``isthing`` and ``category_id``, the class.
    """
    shifted = labels.clamp(min=-1) + 1
    # A table over all labels: sorting the pixels took twenty times as long.
    present = torch.zeros(
        int(shifted.max()) + 1 if labels.numel() else 1, dtype=torch.bool, device=labels.device
    )
    present[shifted.flatten()] = True
    present[:1] = False
    ids = present.cumsum(0, dtype=torch.int32) * present
    classes = (present.cpu().nonzero()[:, 0] - 1) // label_divisor
    segments = [
        {"id": number, "isthing": class_ in thing_classes, "category_id": class_}
        for number, class_ in enumerate(classes.tolist(), start=1)
    ]
    return ids[shifted], segments
