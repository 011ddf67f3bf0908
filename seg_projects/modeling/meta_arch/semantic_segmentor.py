"""Semantic segmentation with any backbone and head, of images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import META_ARCH_REGISTRY, SemanticSegmentor
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from seg_projects.errors import UserError
from seg_projects.modeling.semantic_heads import AuxiliaryClassifiers, SemanticHead
from seg_projects.postprocessing import augmented_scores, sliding_window_scores, upsampled_labels
from seg_projects.postprocessing.sliding_windows import largest_step


@META_ARCH_REGISTRY.register()
class SegSemanticSegmentor(SemanticSegmentor):
    """Detectron2's ``SemanticSegmentor`` with deep supervision, sliding windows and augmentation.

    Config keys, parameter names, losses and, with none of the three, results are those of
    ``SemanticSegmentor``, so that its checkpoints load.
    """

    @configurable
    def __init__(
        self,
        *,
        auxiliary: AuxiliaryClassifiers,
        window: Sequence[int],
        window_overlap: float,
        window_batch: int,
        test_sizes: Sequence[int],
        test_max_size: int,
        test_flip: bool,
        **parts: Any,
    ) -> None:
        """Checks how images are to be looked at.

        Args:
            auxiliary: classifiers of single maps, whatever the head.
            window: height and width of the sliding window, in pixels; empty for the whole image.
            window_overlap: in [0, 1), the least share that neighbouring windows have in common.
            window_batch: windows that go through the network at once.
            test_sizes: shorter sides, in pixels, that an image is resized to; empty for its own.
            test_max_size: bound of the longer side then.
            test_flip: whether the mirror image counts too.
            parts: as ``SemanticSegmentor`` takes them.

        Raises:
            UserError: a window or its overlap is impossible.
        """
        super().__init__(**parts)
        self.auxiliary = auxiliary
        strides = [spec.stride or 1 for spec in self.backbone.output_shape().values()]
        _check_window(window, window_overlap, window_batch, coarsest=max(strides))
        self.window = tuple(window)
        self.window_overlap, self.window_batch = window_overlap, window_batch
        self.test_sizes, self.test_max_size = tuple(test_sizes), test_max_size
        self.test_flip = test_flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        window, augmentation = cfg.MODEL.SLIDING_WINDOW, cfg.TEST.AUG
        parts, head = super().from_config(cfg), cfg.MODEL.SEM_SEG_HEAD
        return parts | {
            "auxiliary": AuxiliaryClassifiers(
                parts["backbone"].output_shape(),
                head.AUXILIARY,
                losses=head.LOSSES,
                num_classes=head.NUM_CLASSES,
                ignore_value=head.IGNORE_VALUE,
                loss_weight=head.LOSS_WEIGHT,
                # A head may have a kind of its own, as SETR has.
                build=getattr(parts["sem_seg_head"], "auxiliary_classifier", None),
            ),
            "window": window.SIZE,
            "window_overlap": window.OVERLAP,
            "window_batch": window.BATCH_SIZE,
            "test_sizes": augmentation.MIN_SIZES if augmentation.ENABLED else (),
            "test_max_size": augmentation.MAX_SIZE,
            "test_flip": augmentation.ENABLED and augmentation.FLIP,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Training: the losses. Inference: per image ``sem_seg``, (K, height, width) scores."""
        if self.training:
            return self._training_losses(batched_inputs)
        if not (self.window or self.test_sizes or self.test_flip):
            return super().forward(batched_inputs)
        results = []
        for inputs in batched_inputs:
            image = (inputs["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            size = (image.shape[-2], image.shape[-1])
            scores = augmented_scores(
                image, self._scores, sizes=self._sizes(*size), flip=self.test_flip
            )
            height, width = inputs.get("height", size[0]), inputs.get("width", size[1])
            results.append({"sem_seg": sem_seg_postprocess(scores, size, height, width)})
        return results

    def _training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        images = [
            (one["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for one in batched_inputs
        ]
        labels = [one["sem_seg"].to(self.device) for one in batched_inputs]
        features = self.backbone(self._padded(images).tensor)
        targets = self._padded(labels, pad_value=self.sem_seg_head.ignore_value).tensor
        _, losses = self.sem_seg_head(features, targets)
        return losses | self.auxiliary(features, targets)

    def _padded(self, tensors: list[Tensor], pad_value: float = 0.0) -> ImageList:
        """``tensors`` as one, as large as the largest and as the backbone wants them."""
        return ImageList.from_tensors(
            tensors,
            self.backbone.size_divisibility,
            pad_value=pad_value,
            padding_constraints=self.backbone.padding_constraints,
        )

    @torch.no_grad()
    def predict_labels(self, inputs: dict[str, Any]) -> Tensor:
        """The class (height, width) of each pixel of one image, in evaluation mode.

        It is the argmax of the scores that :meth:`forward` gives, up to ties, without making them.
        """
        assert not self.training, "labels are predicted in evaluation mode"
        image = (inputs["image"].to(self.device) - self.pixel_mean) / self.pixel_std
        size = (image.shape[-2], image.shape[-1])
        wanted = (inputs.get("height", size[0]), inputs.get("width", size[1]))
        head = self.sem_seg_head
        if self.window or self.test_sizes or self.test_flip:
            sizes = self._sizes(*size)
            scores = augmented_scores(image, self._scores, sizes=sizes, flip=self.test_flip)
        elif wanted == size and getattr(type(head), "forward", None) is SemanticHead.forward:
            # All that is left to do is bilinear upsampling by the stride.
            coarse = head.layers(self.backbone(self._padded([image]).tensor))[0]
            scale = 1 / head.stride
            return upsampled_labels(coarse, size, scale=(scale, scale))
        else:
            scores = self._batch_scores(image[None])[0]
        return upsampled_labels(scores, wanted)

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        if not self.test_sizes:
            return [(height, width)]
        shape = partial(ResizeShortestEdge.get_output_shape, height, width)
        return [shape(size, self.test_max_size) for size in self.test_sizes]

    def _scores(self, image: Tensor) -> Tensor:
        """Scores (K, H, W) of a normalised image (C, H, W)."""
        if not self.window:
            return self._batch_scores(image[None])[0]
        return sliding_window_scores(
            image,
            self._batch_scores,
            window=(self.window[0], self.window[1]),
            overlap=self.window_overlap,
            batch_size=self.window_batch,
        )

    def _batch_scores(self, images: Tensor) -> Tensor:
        padded = self._padded(list(images))
        scores, _ = self.sem_seg_head(self.backbone(padded.tensor), None)
        return scores[..., : images.shape[-2], : images.shape[-1]]


def _check_window(window: Sequence[int], overlap: float, batch_size: int, *, coarsest: int) -> None:
    key = "MODEL.SLIDING_WINDOW"
    if not window:
        return
    if len(window) != 2:
        raise UserError(f"{key}.SIZE is {list(window)}; it is [height, width], or [] for none.")
    if min(window) < coarsest:
        raise UserError(
            f"{key}.SIZE is {list(window)}, smaller than {coarsest}, the backbone's largest stride."
        )
    if not 0 <= overlap < 1:
        raise UserError(f"{key}.OVERLAP is {overlap}; it is a share of the window in [0, 1).")
    if largest_step(min(window), overlap) < 1:
        raise UserError(
            f"{key}.OVERLAP {overlap} of a window of {min(window)} pixels, {key}.SIZE "
            f"{list(window)}, leaves no pixel for its next step: take an overlap of at most "
            f"{math.floor(1000 * (1 - 1 / min(window))) / 1000}."
        )
    if batch_size < 1:
        raise UserError(f"{key}.BATCH_SIZE is {batch_size}; one window at a time is the least.")
