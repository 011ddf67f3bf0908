"""ROI heads: sample and label proposals, pool their features, run the heads per region."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances

from .._lookup import find_registered
from ..poolers import ROIPooler
from ._base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_pooler,
    refuse_keypoints,
    select_foreground_proposals,
)
from ._res5 import Res5ROIHeads
from .box_head import build_box_head
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import build_mask_head

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
]

logger = logging.getLogger(__name__)


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The ROI heads that ``MODEL.ROI_HEADS.NAME`` names."""
    heads = find_registered(
        ROI_HEADS_REGISTRY, cfg.MODEL.ROI_HEADS.NAME, key="MODEL.ROI_HEADS.NAME"
    )
    return heads(cfg, input_shape)


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Boxes and masks have a pooler and a head each."""

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: list[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: list[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        """Stores the parts.

        Args:
            box_in_features: Names of the feature maps that the box head reads.
            box_pooler: Pools the features of boxes.
            box_head: Features per region for the predictor.
            box_predictor: Gives scores and box refinements, losses and detections.
            mask_in_features: Names of the feature maps that the mask head reads; None: no masks.
            mask_pooler: Pools the features of masks; None hands the whole maps to the mask head.
            mask_head: Gives mask losses and sets ``pred_masks``.
            keypoint_in_features: Must be None, there are no keypoints here.
            keypoint_pooler: Must be None.
            keypoint_head: Must be None.
            train_on_pred_boxes: Whether the mask head trains on refined boxes, not on proposals.
            **kwargs: Arguments of ``ROIHeads``.
        """
        super().__init__(**kwargs)
        refuse_keypoints(keypoint_in_features, keypoint_pooler, keypoint_head)
        self.in_features = self.box_in_features = box_in_features
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_on = mask_in_features is not None
        if mask_in_features is not None:
            assert mask_head is not None, "mask_in_features needs a mask_head"
            self.mask_in_features = mask_in_features
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        self.train_on_pred_boxes = train_on_pred_boxes

    @classmethod
    def from_config(  # type: ignore[override]  # as upstream's
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Reads ``MODEL.ROI_HEADS``, ``MODEL.ROI_BOX_HEAD``, ``MODEL.ROI_MASK_HEAD``."""
        refuse_keypoints(cfg.MODEL.KEYPOINT_ON)
        ret = super().from_config(cfg)
        ret["train_on_pred_boxes"] = cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES
        ret.update(cls._init_box_head(cfg, input_shape))
        ret.update(cls._init_mask_head(cfg, input_shape))
        return ret

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments that concern boxes; subclasses build other heads here."""
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        box_pooler, pooled_shape = build_pooler(cfg.MODEL.ROI_BOX_HEAD, in_features, input_shape)
        box_head = build_box_head(cfg, pooled_shape)
        return {
            "box_in_features": in_features,
            "box_pooler": box_pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments that concern masks; subclasses build other heads here."""
        if not cfg.MODEL.MASK_ON:
            return {}
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        head = cfg.MODEL.ROI_MASK_HEAD
        mask_pooler: ROIPooler | None = None
        shape: Any = {name: input_shape[name] for name in in_features}
        if head.POOLER_TYPE:
            mask_pooler, shape = build_pooler(head, in_features, input_shape)
        return {
            "mask_in_features": in_features,
            "mask_pooler": mask_pooler,
            "mask_head": build_mask_head(cfg, shape),
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Training: (sampled proposals, losses). Inference: (detections, {})."""
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        assert targets is not None, "training needs targets"
        proposals = self.label_and_sample_proposals(proposals, targets)
        losses = self._forward_box(features, proposals)
        losses.update(self._forward_mask(features, proposals))
        return proposals, losses

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """``instances``, which have ``pred_boxes`` and ``pred_classes``, with ``pred_masks`` if on.

        Args:
            features: Feature maps by name.
            instances: Per image the detections; changed in place.
        """
        assert not self.training, "forward_with_given_boxes is for inference"
        assert all(x.has("pred_boxes") and x.has("pred_classes") for x in instances)
        return self._forward_mask(features, instances)

    def _forward_box(self, features: dict[str, Tensor], proposals: list[Instances]) -> Any:
        """Training: the box losses. Inference: the detections per image."""
        maps = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler(maps, [x.proposal_boxes for x in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if not self.training:
            return self.box_predictor.inference(predictions, proposals)[0]
        losses = self.box_predictor.losses(predictions, proposals)
        # Only now: the losses read the boxes that are replaced here for the mask head.
        if self.train_on_pred_boxes:
            with torch.no_grad():
                refined = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
            for instances, boxes in zip(proposals, refined, strict=True):
                instances.proposal_boxes = Boxes(boxes)
        return losses

    def _forward_mask(self, features: dict[str, Tensor], instances: list[Instances]) -> Any:
        """Training: the mask losses, {} without masks. Inference: ``instances`` with masks."""
        if not self.mask_on:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_pooler is None:
            return self.mask_head(
                {name: features[name] for name in self.mask_in_features}, instances
            )
        maps = [features[name] for name in self.mask_in_features]
        boxes = [x.proposal_boxes if self.training else x.pred_boxes for x in instances]
        return self.mask_head(self.mask_pooler(maps, boxes), instances)
