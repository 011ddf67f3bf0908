"""Test-time augmentation: detections from several sizes of an image and their mirror images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.config import CfgNode, configurable
from detectron2.structures import Boxes, Instances

from .meta_arch.rcnn import GeneralizedRCNN
from .postprocessing import detector_postprocess
from .roi_heads.fast_rcnn import fast_rcnn_inference_single_image

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]


class DatasetMapperTTA:
    """Makes input dicts of several sizes, and of their mirror images, from one input dict."""

    @configurable
    def __init__(self, min_sizes: list[int], max_size: int, flip: bool) -> None:
        """Stores the augmentations.

        Args:
            min_sizes: Lengths of the shorter edge in pixels; each gives an image.
            max_size: Largest length of the longer edge in pixels.
            flip: Whether each image comes mirrored left-right, too.
        """
        self.min_sizes = min_sizes
        self.max_size = max_size
        self.flip = flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads ``TEST.AUG``."""
        aug = cfg.TEST.AUG
        return {"min_sizes": aug.MIN_SIZES, "max_size": aug.MAX_SIZE, "flip": aug.FLIP}

    def __call__(self, dataset_dict: dict[str, Any]) -> list[dict[str, Any]]:
        """The augmented input dicts.

        Args:
            dataset_dict: Has ``image``, a (C, H, W) uint8 tensor, and the original ``height`` and
                ``width``; not changed.

        Returns:
            Copies, each with its own ``image`` and with ``transforms``, which leads from the
            original image to it.
        """
        from detectron2.data.transforms import (
            HFlipTransform,
            NoOpTransform,
            ResizeShortestEdge,
            ResizeTransform,
            TransformList,
        )

        image = dataset_dict["image"].permute(1, 2, 0).numpy()
        original, current = (dataset_dict["height"], dataset_dict["width"]), image.shape[:2]
        to_current = (
            NoOpTransform() if original == current else ResizeTransform(*original, *current)
        )
        rest = {name: value for name, value in dataset_dict.items() if name != "image"}
        result = []
        for min_size in self.min_sizes:
            resize = ResizeShortestEdge(min_size, self.max_size).get_transform(image)
            resized = resize.apply_image(image)
            variants = [(resized, [to_current, resize])]
            if self.flip:
                flip = HFlipTransform(resized.shape[1])
                variants.append((flip.apply_image(resized), [to_current, resize, flip]))
            for pixels, transforms in variants:
                # A copy: torch takes no negative strides, which mirroring may leave.
                tensor = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
                result.append(
                    {
                        **copy.deepcopy(rest),
                        "image": tensor,
                        "transforms": TransformList(transforms),
                    }
                )
        return result


class GeneralizedRCNNWithTTA(nn.Module):
    """A ``GeneralizedRCNN`` whose results come from several augmented images.

    Boxes of all images are merged by non-maximum suppression; the masks of the merged boxes are
    found in each image and averaged.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
        batch_size: int = 3,
    ) -> None:
        """Wraps a model.

        Args:
            cfg: The config of the model.
            model: A ``GeneralizedRCNN``, maybe inside ``DistributedDataParallel``.
            tta_mapper: Makes augmented input dicts from one; None: ``DatasetMapperTTA(cfg)``.
            batch_size: Largest number of augmented images at once.
        """
        super().__init__()
        if isinstance(model, DistributedDataParallel):
            model = model.module
        assert isinstance(model, GeneralizedRCNN), (
            f"Test-time augmentation is for GeneralizedRCNN, not {type(model).__name__}."
        )
        assert not cfg.MODEL.KEYPOINT_ON, "Test-time augmentation has no keypoints."
        assert not cfg.MODEL.LOAD_PROPOSALS, "Test-time augmentation has no given proposals."
        self.cfg = cfg.clone()
        self.model = model
        # A config stands for the mapper's arguments.
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Per image ``{"instances": Instances}`` at its original size.

        Args:
            batched_inputs: As ``GeneralizedRCNN`` takes them; an absent ``image`` is read from
                ``file_name``, absent ``height`` and ``width`` are those of the image.
        """
        return [{"instances": self._detect(self._with_image(x))} for x in batched_inputs]

    def _with_image(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = dict(inputs)
        if "image" not in inputs:
            from detectron2.data.detection_utils import read_image

            image = read_image(inputs.pop("file_name"), self.model.input_format)
            inputs["image"] = torch.from_numpy(image.transpose(2, 0, 1).copy())
        if "height" not in inputs and "width" not in inputs:
            inputs["height"], inputs["width"] = inputs["image"].shape[1:]
        return inputs

    def _detect(self, inputs: dict[str, Any]) -> Instances:
        """Detections of one image."""
        augmented = self.tta_mapper(inputs)
        transforms = [x.pop("transforms") for x in augmented]
        size = (inputs["height"], inputs["width"])
        with _without_masks(self.model.roi_heads):
            found = self._run(augmented)
        merged = self._merge(found, transforms, size)
        if self.cfg.MODEL.MASK_ON:
            merged.pred_masks = self._mean_masks(merged, augmented, transforms)
            merged = detector_postprocess(merged, *size)
        return merged

    def _run(
        self, inputs: list[dict[str, Any]], given: list[Instances] | None = None
    ) -> list[Instances]:
        """Detections per augmented image, or masks of the given ones, at the image's own size."""
        results: list[Instances] = []
        for start in range(0, len(inputs), self.batch_size):
            part = slice(start, start + self.batch_size)
            results += self.model.inference(
                inputs[part], None if given is None else given[part], do_postprocess=False
            )
        return results

    def _merge(
        self, found: list[Instances], transforms: list[Any], size: tuple[int, int]
    ) -> Instances:
        """The best of all detections, in the frame of the original image."""
        boxes = torch.cat(
            [
                _apply_to_boxes(transform.inverse(), x.pred_boxes.tensor)
                for x, transform in zip(found, transforms, strict=True)
            ]
        )
        scores = torch.cat([x.scores for x in found])
        classes = torch.cat([x.pred_classes for x in found])
        # Each box has a score for its own class alone; the last column is the background.
        table = scores.new_zeros(len(scores), self.cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1)
        table[torch.arange(len(scores), device=scores.device), classes] = scores
        merged, _ = fast_rcnn_inference_single_image(
            boxes,
            table,
            size,
            score_thresh=1e-8,  # only the zeros of the other classes are dropped
            nms_thresh=self.cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            topk_per_image=self.cfg.TEST.DETECTIONS_PER_IMAGE,
        )
        return merged

    def _mean_masks(
        self, merged: Instances, augmented: list[dict[str, Any]], transforms: list[Any]
    ) -> Tensor:
        """Masks of the merged boxes, (R, 1, M, M) probabilities, averaged over the images."""
        from detectron2.data.transforms import HFlipTransform

        given = [
            Instances(
                tuple(inputs["image"].shape[1:]),
                pred_boxes=Boxes(_apply_to_boxes(transform, merged.pred_boxes.tensor)),
                pred_classes=merged.pred_classes,
                scores=merged.scores,
            )
            for inputs, transform in zip(augmented, transforms, strict=True)
        ]
        masks = []
        for output, transform in zip(self._run(augmented, given), transforms, strict=True):
            mirrored = any(isinstance(x, HFlipTransform) for x in transform.transforms)
            masks.append(output.pred_masks.flip(3) if mirrored else output.pred_masks)
        return torch.stack(masks).mean(dim=0)


def _apply_to_boxes(transform: Any, boxes: Tensor) -> Tensor:
    """(R, 4) XYXY boxes after a transform, on the same device."""
    moved = transform.apply_box(boxes.detach().cpu().numpy())
    return torch.from_numpy(moved).to(boxes)


@contextmanager
def _without_masks(roi_heads: nn.Module) -> Iterator[None]:
    """Heads that leave out masks for a while."""
    mask_on = roi_heads.mask_on
    roi_heads.mask_on = False
    try:
        yield
    finally:
        roi_heads.mask_on = mask_on
