"""What all meta-architectures do with input dicts: normalise, pad, move to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.structures import ImageList, Instances

from ..backbone.backbone import Backbone
from ..postprocessing import detector_postprocess


def register_pixel_statistics(
    model: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]
) -> None:
    """Registers the buffers ``pixel_mean`` and ``pixel_std``, (C, 1, 1), which are not saved."""
    if len(pixel_mean) != len(pixel_std):
        raise AssertionError(
            f"PIXEL_MEAN {list(pixel_mean)} and PIXEL_STD {list(pixel_std)} differ in length; both "
            "have one value per image channel."
        )
    for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
        tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
        model.register_buffer(name, tensor, persistent=False)


def normalized_batch(
    batched_inputs: list[dict[str, Any]], mean: Tensor, std: Tensor, backbone: Backbone
) -> ImageList:
    """The ``image`` of each input, on the device of ``mean``, normalised, padded and batched."""
    images = [(x["image"].to(mean.device, non_blocking=True) - mean) / std for x in batched_inputs]
    return ImageList.from_tensors(
        images, backbone.size_divisibility, padding_constraints=backbone.padding_constraints
    )


def label_batch(
    batched_inputs: list[dict[str, Any]],
    device: torch.device,
    backbone: Backbone,
    ignore_value: int,
) -> Tensor | None:
    """The ``sem_seg`` label maps, (N, H, W), padded with ``ignore_value``; None without labels."""
    if "sem_seg" not in batched_inputs[0]:
        return None
    labels = [x["sem_seg"].to(device, non_blocking=True) for x in batched_inputs]
    return ImageList.from_tensors(
        labels, backbone.size_divisibility, ignore_value, backbone.padding_constraints
    ).tensor


def instances_on(
    device: torch.device, batched_inputs: list[dict[str, Any]]
) -> list[Instances] | None:
    """The ground truth ``instances`` of each input on ``device``; None where there is none."""
    if "instances" not in batched_inputs[0]:
        return None
    return [x["instances"].to(device) for x in batched_inputs]


def output_size(inputs: dict[str, Any], image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that an input dict asks for: those of its image unless it says."""
    return inputs.get("height", image_size[0]), inputs.get("width", image_size[1])


def resized_instances(
    results: list[Instances],
    batched_inputs: list[dict[str, Any]],
    image_sizes: list[tuple[int, int]],
) -> list[Instances]:
    """Detections or proposals per image at the size that its input dict asks for."""
    return [
        detector_postprocess(instances, *output_size(inputs, size))
        for instances, inputs, size in zip(results, batched_inputs, image_sizes, strict=True)
    ]
