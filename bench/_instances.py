"""Made-up detections for the benchmarks of what follows a network."""

from __future__ import annotations

from typing import Any

import numpy as np


def boxes_xyxy(number: int, height: int, width: int) -> np.ndarray:
    """(number, 4) float32 boxes of 3 % to 50 % of the image's sides, small ones more often."""
    random = np.random.default_rng(0)
    sizes = 0.03 * (0.5 / 0.03) ** random.uniform(0, 1, (number, 2)) * [width, height]
    corners = random.uniform(0, 1, (number, 2)) * ([width, height] - sizes)
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def detections(number: int, height: int, width: int) -> Any:
    """``Instances`` with the ellipses in ``boxes_xyxy`` as masks."""
    import torch

    from detectron2.structures import Boxes, Instances

    random = np.random.default_rng(1)
    boxes = boxes_xyxy(number, height, width)
    y, x = np.mgrid[:height, :width] + 0.5
    masks = np.empty((number, height, width), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
        mask[:] = across**2 + down**2 < 1
    instances = Instances((height, width))
    instances.pred_boxes = Boxes(torch.from_numpy(boxes))
    instances.scores = torch.from_numpy(random.uniform(0.3, 1, number).astype(np.float32))
    instances.pred_classes = torch.from_numpy(random.integers(0, 80, number))
    instances.pred_masks = torch.from_numpy(masks)
    return instances
