"""Mask heads: pooled region features to one mask per region (arXiv:1703.06870, section 3).

Legend: B regions of all images together, R regions of one image, K classes, M x M mask resolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn import weight_init
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ConvTranspose2d, ShapeSpec, cat, get_norm
from detectron2.layers.memory_format import for_convolutions
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage, get_event_storage
from detectron2.utils.registry import Registry

from .._lookup import find_registered

__all__ = [
    "ROI_MASK_HEAD_REGISTRY",
    "BaseMaskRCNNHead",
    "MaskRCNNConvUpsampleHead",
    "build_mask_head",
]

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
ROI_MASK_HEAD_REGISTRY.__doc__ = """
Mask heads: built as ``head(cfg, input_shape)`` and called as ``head(features, instances)``, they
give losses in training and set ``pred_masks`` of the instances in inference.
"""


def mask_rcnn_loss(
    pred_mask_logits: Tensor, instances: list[Instances], vis_period: int = 0
) -> Tensor:
    """Mean binary cross entropy, in nats, of the masks of the ground-truth classes.

    Args:
        pred_mask_logits: (B, K, M, M) logits, or (B, 1, M, M) for masks shared by all classes; the
            regions are those of ``instances``, in order.
        instances: Per image, the foreground regions with ``proposal_boxes``, ``gt_classes`` and
            ``gt_masks``.
        vis_period: Every so many iterations the masks are stored as images; 0 for never.

    Returns:
        A scalar; 0, with a gradient, where there is no region.
    """
    num_classes, height, side = pred_mask_logits.shape[1:]
    assert height == side, f"mask logits are square, not {height}x{side}"
    instances = [x for x in instances if len(x) > 0]
    if not instances:
        return pred_mask_logits.sum() * 0

    device = pred_mask_logits.device
    targets = cat(
        [
            x.gt_masks.crop_and_resize(x.proposal_boxes.tensor, side).to(device=device)
            for x in instances
        ]
    )
    if num_classes == 1:
        logits = pred_mask_logits[:, 0]
    else:
        logits = _masks_of_classes(pred_mask_logits, cat([x.gt_classes for x in instances]))

    is_object = targets if targets.dtype == torch.bool else targets > 0.5
    storage = get_event_storage()
    _log_accuracy(storage, logits.detach() > 0, is_object)
    if vis_period > 0 and storage.iter % vis_period == 0:
        _store_images(storage, logits.detach().sigmoid(), targets)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: list[Instances]) -> None:
    """Sets ``pred_masks`` of each image's instances, (R, 1, M, M) probabilities of their classes.

    Args:
        pred_mask_logits: (B, K, M, M) logits, or (B, 1, M, M) for masks shared by all classes.
        pred_instances: Per image, the regions with ``pred_classes``; changed in place.
    """
    if pred_mask_logits.shape[1] > 1 and pred_instances:
        classes = cat([x.pred_classes for x in pred_instances])
        pred_mask_logits = _masks_of_classes(pred_mask_logits, classes)[:, None]
    counts = [len(x) for x in pred_instances]
    for masks, instances in zip(
        pred_mask_logits.sigmoid().split(counts), pred_instances, strict=True
    ):
        instances.pred_masks = masks


def _masks_of_classes(masks: Tensor, classes: Tensor) -> Tensor:
    """(B, K, M, M) masks and (B,) classes to the (B, M, M) masks of those classes."""
    return masks[torch.arange(len(classes), device=masks.device), classes.to(masks.device)]


def _log_accuracy(storage: EventStorage, predicted: Tensor, is_object: Tensor) -> None:
    """Stores the shares of wrong pixels; ``predicted`` and ``is_object`` are (B, M, M) bool."""
    total = is_object.numel()
    wrong = predicted != is_object
    # One transfer from the device for all counts.
    positive, wrong_on_object, wrong_count = torch.stack(
        [is_object.sum(), (wrong & is_object).sum(), wrong.sum()]
    ).tolist()
    storage.put_scalar("mask_rcnn/accuracy", 1 - wrong_count / max(total, 1))
    false_positive = (wrong_count - wrong_on_object) / max(total - positive, 1)
    storage.put_scalar("mask_rcnn/false_positive", false_positive)
    storage.put_scalar("mask_rcnn/false_negative", wrong_on_object / max(positive, 1))


def _store_images(storage: EventStorage, probabilities: Tensor, targets: Tensor) -> None:
    """Stores each (M, M) prediction beside its target as a (3, M, 2 M) image in [0, 1]."""
    pairs = torch.cat([probabilities, targets.to(probabilities.dtype)], dim=2)
    for index, pair in enumerate(pairs):
        name = f"Left: mask prediction;   Right: mask GT ({index})"
        storage.put_image(name, pair.expand(3, -1, -1))


class BaseMaskRCNNHead(nn.Module):
    """A mask head as in Mask R-CNN; a subclass gives ``layers``, from features to mask logits."""

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0) -> None:
        """Stores the weight of the loss and the period, in iterations, of the visualisation."""
        super().__init__()
        self.vis_period = vis_period
        self.loss_weight = loss_weight

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Reads ``VIS_PERIOD``."""
        return {"vis_period": cfg.VIS_PERIOD}

    def forward(self, x: Tensor, instances: list[Instances]) -> dict[str, Tensor] | list[Instances]:
        """Training: the loss. Inference: ``instances`` with ``pred_masks``, set in place.

        Args:
            x: (B, C, H, W) region features, whatever ``layers`` takes.
            instances: Per image: sampled foreground proposals, or detections.
        """
        x = self.layers(x)
        if self.training:
            return {"loss_mask": mask_rcnn_loss(x, instances, self.vis_period) * self.loss_weight}
        mask_rcnn_inference(x, instances)
        return instances

    def layers(self, x: Tensor) -> Tensor:
        """Region features to (B, K, M, M) mask logits."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):
    """3x3 convolutions, one 2x upsampling by a transposed convolution, a 1x1 classifier."""

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: list[int],
        conv_norm: Any = "",
        **kwargs: Any,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: Shape of the region features.
            num_classes: Masks per region: K, or 1 where all classes share one.
            conv_dims: Output channels of each convolution, then of the transposed convolution.
            conv_norm: Normalisation of the convolutions, as ``get_norm`` takes it.
            **kwargs: Arguments of ``BaseMaskRCNNHead``.
        """
        super().__init__(**kwargs)
        if not conv_dims:
            raise ValueError("conv_dims is empty: its last entry is that of the upsampling layer.")
        channels = input_shape.channels
        for k, dim in enumerate(conv_dims[:-1], start=1):
            conv = Conv2d(
                channels,
                dim,
                kernel_size=3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, dim),
                activation=nn.ReLU(),
            )
            self.add_module(f"mask_fcn{k}", conv)
            channels = dim
        self.deconv = ConvTranspose2d(channels, conv_dims[-1], kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        # All layers exist before the first is filled: the same random stream as Detectron2's.
        for layer in self.children():
            if isinstance(layer, Conv2d | ConvTranspose2d) and layer is not self.predictor:
                weight_init.c2_msra_fill(layer)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Reads ``MODEL.ROI_MASK_HEAD`` and the number of classes."""
        head = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if head.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (head.NUM_CONV + 1),
            "conv_norm": head.NORM,
        }

    def layers(self, x: Tensor) -> Tensor:
        """(B, C, H, W) features to (B, K, 2H, 2W) logits."""
        x = for_convolutions(x)
        for layer in self:
            x = layer(x)
        return x


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The mask head that ``MODEL.ROI_MASK_HEAD.NAME`` names."""
    head = find_registered(
        ROI_MASK_HEAD_REGISTRY, cfg.MODEL.ROI_MASK_HEAD.NAME, key="MODEL.ROI_MASK_HEAD.NAME"
    )
    return head(cfg, input_shape)
