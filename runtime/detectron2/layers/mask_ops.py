"""Pasting the mask that a network predicts for a box into the image.

The pixel with center x samples the mask, of M pixels across, at (x - x0) / (x1 - x0) * M, with
zeros around it. Bilinear sampling on such a grid is separable: with the (h, M) and (w, M) weights
of rows and columns, a pasted mask is ``rows @ mask @ columns.T``. So there is no grid of
coordinates at all, and matrix products of M = 28 terms are cheaper than gathering four neighbours.
On the CPU each product covers the pixels of its box alone; on a GPU one batched product covers the
image, because cutting boxes would need their coordinates on the host.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["paste_masks_in_image"]

BYTES_PER_FLOAT = 4
GPU_MEM_LIMIT = 1024**3
"""Bytes that the intermediate results of pasting on a GPU may take at a time."""


def paste_masks_in_image(
    masks: Tensor, boxes: Tensor, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Pastes each mask into its box of an otherwise empty image.

    Args:
        masks: (N, M, M) values in [0, 1], of any float type or bool.
        boxes: ``Boxes``, or (N, 4) XYXY in pixels. What sticks out of the image is cut; a box
            without area gets an empty mask.
        image_shape: (height, width).
        threshold: pixels of at least this value are set.

    Returns:
        (N, height, width) bool; for a negative threshold the soft masks as uint8, times 255.
        Without masks uint8 too.
    """
    assert masks.shape[-1] == masks.shape[-2], (
        f"masks are square, (N, M, M), not {tuple(masks.shape)}."
    )
    height, width = image_shape
    boxes = boxes if isinstance(boxes, Tensor) else boxes.tensor
    if len(masks) == 0:
        return masks.new_empty((0, height, width), dtype=torch.uint8)
    assert len(boxes) == len(masks), f"{len(masks)} masks want as many boxes, not {len(boxes)}."
    boxes, masks = boxes.detach().to(masks.device, torch.float32), masks.detach().float()
    with torch.autocast(masks.device.type, enabled=False):  # half precision would shift edges
        if masks.device.type == "cpu":
            return _paste_in_boxes(masks, boxes, height, width, threshold)
        at_a_time = max(1, GPU_MEM_LIMIT // (BYTES_PER_FLOAT * max(1, height * width)))
        parts = zip(masks.split(at_a_time), boxes.split(at_a_time), strict=True)
        return torch.cat([_paste_at_once(*part, height, width, threshold) for part in parts])


def _reach(boxes: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """First pixel (x, y), and one past the last, that each mask may set: a box, a pixel wider."""
    size = boxes.new_tensor([width, height])
    low, high = boxes[:, :2], boxes[:, 2:]
    start = torch.minimum((low.floor() - 1).clamp(min=0).nan_to_num(), size)
    stop = torch.minimum((high.ceil() + 1).clamp(min=0), size)
    has_area = (high > low).all(dim=1, keepdim=True)
    return start, torch.where(has_area, stop, start)


def _weights(pixels: Tensor, low: Tensor, high: Tensor, mask_size: int) -> Tensor:
    """(..., pixels, M) bilinear weight of each mask pixel at each image pixel, along one axis."""
    position = (pixels + 0.5 - low) / (high - low) * mask_size - 0.5
    taps = torch.arange(mask_size, device=pixels.device, dtype=torch.float32)
    # The weight falls linearly to 0 within one mask pixel; beyond the mask there is no tap.
    return (1 - (position[..., None] - taps).abs()).clamp(min=0)


def _paste_in_boxes(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float
) -> Tensor:
    dtype = np.uint8 if threshold < 0 else np.bool_
    # numpy's zeros are pages that the kernel clears when they are touched: most never are.
    pasted = torch.from_numpy(np.zeros((len(masks), height, width), dtype=dtype))
    start, stop = _reach(boxes, width, height)
    x_weights = _weights_in_boxes(boxes[:, 0], boxes[:, 2], start[:, 0], stop[:, 0], masks.shape[2])
    y_weights = _weights_in_boxes(boxes[:, 1], boxes[:, 3], start[:, 1], stop[:, 1], masks.shape[1])
    spans = torch.cat((start, stop), dim=1).int().tolist()
    parts = zip(pasted, masks, x_weights, y_weights, spans, strict=True)
    for image, mask, columns, rows, (left, top, right, bottom) in parts:
        if left < right and top < bottom:
            soft = rows @ mask @ columns.T
            target = image[top:bottom, left:right]
            if threshold < 0:
                target.copy_(soft.mul_(255))
            else:
                torch.ge(soft, threshold, out=target)
    return pasted


def _weights_in_boxes(
    low: Tensor, high: Tensor, start: Tensor, stop: Tensor, mask_size: int
) -> tuple[Tensor, ...]:
    """Per box, the weights (stop - start, M) of the pixels that it reaches along one axis."""
    lengths = (stop - start).long()
    owners = torch.repeat_interleave(lengths)
    pixels = torch.arange(len(owners)) - (lengths.cumsum(0) - lengths - start.long())[owners]
    weights = _weights(pixels, low[owners], high[owners], mask_size)
    return weights.split(lengths.tolist())


def _paste_at_once(
    masks: Tensor, boxes: Tensor, height: int, width: int, threshold: float
) -> Tensor:
    reach = _reach(boxes, width, height)
    # NaN is not >= any threshold, so that pixels out of reach stay unset for a threshold of 0 too.
    out_of_reach = 0.0 if threshold < 0 else float("nan")
    weights = []
    for axis, length in enumerate((width, height)):
        start, stop, low, high = (ends[:, axis, None] for ends in (*reach, *boxes.split(2, dim=1)))
        pixels = torch.arange(length, device=boxes.device, dtype=torch.float32)[None]
        outside = (pixels < start) | (pixels >= stop)
        along = _weights(pixels, low, high, masks.shape[-1])
        weights.append(along.masked_fill(outside[..., None], out_of_reach))
    columns, rows = weights
    soft = rows @ masks @ columns.transpose(1, 2)
    return (soft * 255).to(torch.uint8) if threshold < 0 else soft >= threshold


def paste_mask_in_image_old(
    mask: Tensor, box: Tensor, img_h: int, img_w: int, threshold: float
) -> Tensor:
    """Pastes one mask as the first Detectron did: into whole pixels, both ends included.

    Args:
        mask: (M, M) values in [0, 1].
        box: (4,) XYXY; its fractions are cut off.
        img_h: height of the image.
        img_w: width of the image.
        threshold: pixels above this value are set.

    Returns:
        (img_h, img_w) uint8 in {0, 1}; for a negative threshold the soft mask, times 255.
    """
    from PIL import Image

    left, top, right, bottom = (int(end) for end in box.tolist())
    size = (right - left + 1, bottom - top + 1)
    values = Image.fromarray(mask.detach().cpu().float().numpy())
    resized = np.asarray(values.resize(size, resample=Image.Resampling.BILINEAR))
    pixels = resized > threshold if threshold >= 0 else resized * 255
    image = torch.zeros(img_h, img_w, dtype=torch.uint8)
    x0, x1 = max(left, 0), min(right + 1, img_w)
    y0, y1 = max(top, 0), min(bottom + 1, img_h)
    if x0 < x1 and y0 < y1:
        seen = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
        image[y0:y1, x0:x1] = torch.from_numpy(seen.astype(np.uint8))
    return image


def pad_masks(masks: Tensor, padding: int) -> tuple[Tensor, float]:
    """(N, M, M) masks with ``padding`` zeros on each side, and the factor by which they grew."""
    size = masks.shape[-1]
    return nn.functional.pad(masks, (padding,) * 4), (size + 2 * padding) / size


def scale_boxes(boxes: Tensor, scale: float) -> Tensor:
    """(N, 4) XYXY boxes, grown by ``scale`` around their centers."""
    low, high = boxes[:, :2], boxes[:, 2:]
    center, half = (low + high) / 2, (high - low) / 2 * scale
    return torch.cat((center - half, center + half), dim=1)
