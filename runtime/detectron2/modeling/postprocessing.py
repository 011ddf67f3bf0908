"""From results at the size of the network's input to results at the size that the user wants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2.structures import Instances, ROIMasks


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Detections of one image, scaled to another image size.

    The boxes of ``results`` themselves are scaled and clipped, as in Detectron2; all else is left
    alone.

    Args:
        results: Detections with ``pred_boxes`` (or ``proposal_boxes``) and maybe ``pred_masks``,
            (R, 1, M, M) probabilities inside the boxes or ``ROIMasks``.
        output_height: Wanted height in pixels.
        output_width: Wanted width in pixels.
        mask_threshold: Pixels of at least this probability belong to the mask.

    Returns:
        The detections whose boxes are not empty, with (R, H, W) bool ``pred_masks``.
    """
    height, width = results.image_size
    output = Instances((output_height, output_width), **results.get_fields())
    name = next((name for name in ("pred_boxes", "proposal_boxes") if output.has(name)), None)
    assert name is not None, "The detections have neither pred_boxes nor proposal_boxes."
    boxes = output.get(name)
    boxes.scale(output_width / width, output_height / height)
    boxes.clip(output.image_size)
    output = output[boxes.nonempty()]
    if output.has("pred_masks"):
        masks = output.pred_masks
        if not isinstance(masks, ROIMasks):
            masks = ROIMasks(masks[:, 0])
        output.pred_masks = masks.to_bitmasks(
            output.get(name), output_height, output_width, mask_threshold
        ).tensor
    return output


def sem_seg_postprocess(
    result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> Tensor:
    """Class scores of one image, without the padding, resized to another image size.

    Args:
        result: (K, H', W') scores at the size of the padded batch.
        img_size: Height and width of the image in the batch.
        output_height: Wanted height in pixels.
        output_width: Wanted width in pixels.

    Returns:
        (K, output_height, output_width) scores, resized bilinearly.
    """
    image = result[None, :, : img_size[0], : img_size[1]]
    size = (output_height, output_width)
    if not torch.jit.is_tracing() and image.shape[-2:] == size:
        return image[0].contiguous()
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)[0]
