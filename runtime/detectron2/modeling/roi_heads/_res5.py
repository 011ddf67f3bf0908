"""ROI heads of models without a feature pyramid: the last ResNet stage runs per region."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances

from ..backbone.resnet import BottleneckBlock, ResNet
from ..poolers import ROIPooler
from ._base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_pooler,
    refuse_keypoints,
    select_foreground_proposals,
)
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import build_mask_head


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """The "C4" heads: the last ResNet stage runs per region and is shared by boxes and masks."""

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        pooler: ROIPooler,
        res5: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Stores the parts.

        Args:
            in_features: Names of the feature maps to pool from.
            pooler: Pools the features that ``res5`` reads.
            res5: Runs on the pooled features.
            box_predictor: Reads the mean over the positions of the result.
            mask_head: Reads the result itself.
            **kwargs: Arguments of ``ROIHeads``.
        """
        super().__init__(**kwargs)
        self.in_features = in_features
        self.pooler = pooler
        self.res5 = res5
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if mask_head is not None:
            self.mask_head = mask_head

    @classmethod
    def from_config(  # type: ignore[override]  # as upstream's
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Reads ``MODEL.ROI_HEADS``, ``MODEL.ROI_BOX_HEAD`` and ``MODEL.RESNETS``."""
        refuse_keypoints(cfg.MODEL.KEYPOINT_ON)
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        if len(in_features) != 1:
            raise ValueError(
                f"Res5ROIHeads pools from one feature map, MODEL.ROI_HEADS.IN_FEATURES names "
                f"{list(in_features)}."
            )
        pooler, pooled_shape = build_pooler(cfg.MODEL.ROI_BOX_HEAD, in_features, input_shape)
        res5, out_channels = cls._build_res5_block(cfg)
        ret = super().from_config(cfg)
        ret.update(
            in_features=in_features,
            pooler=pooler,
            res5=res5,
            box_predictor=FastRCNNOutputLayers(
                cfg,
                ShapeSpec(channels=out_channels, height=1, width=1),
            ),
        )
        if cfg.MODEL.MASK_ON:
            ret["mask_head"] = build_mask_head(
                cfg, dataclasses.replace(pooled_shape, channels=out_channels)
            )
        return ret

    @classmethod
    def _build_res5_block(cls, cfg: CfgNode) -> tuple[nn.Module, int]:
        """The last ResNet stage, from the width of ``res4``, and its output channels."""
        resnets = cfg.MODEL.RESNETS
        if resnets.DEFORM_ON_PER_STAGE[-1]:
            raise ValueError("Res5ROIHeads has no deformable res5: DEFORM_ON_PER_STAGE[3] is True.")
        # res5 is the third doubling of res2's width.
        out_channels = resnets.RES2_OUT_CHANNELS * 8
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            stride_per_block=[2, 1, 1],
            in_channels=out_channels // 2,
            bottleneck_channels=resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP * 8,
            out_channels=out_channels,
            num_groups=resnets.NUM_GROUPS,
            norm=resnets.NORM,
            stride_in_1x1=resnets.STRIDE_IN_1X1,
        )
        return nn.Sequential(*blocks), out_channels

    def _shared_roi_transform(self, features: list[Tensor], boxes: list[Boxes]) -> Tensor:
        """Features of all regions, (R of all images, C, H, W), after ``res5``."""
        return self.res5(self.pooler(features, boxes))

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Training: ([], losses). Inference: (detections, {}). Arguments as in ``ROIHeads``."""
        if self.training:
            assert targets is not None, "training needs targets"
            proposals = self.label_and_sample_proposals(proposals, targets)
        maps = [features[name] for name in self.in_features]
        box_features = self._shared_roi_transform(maps, [x.proposal_boxes for x in proposals])
        predictions = self.box_predictor(box_features.mean(dim=[2, 3]))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            foreground, masks = select_foreground_proposals(proposals, self.num_classes)
            losses.update(self.mask_head(box_features[torch.cat(masks)], foreground))
        return [], losses

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """``instances``, which have ``pred_boxes`` and ``pred_classes``, with ``pred_masks`` if on.

        Args:
            features: Feature maps by name.
            instances: Per image the detections; changed in place.
        """
        assert not self.training, "forward_with_given_boxes is for inference"
        if self.mask_on:
            maps = [features[name] for name in self.in_features]
            x = self._shared_roi_transform(maps, [x.pred_boxes for x in instances])
            return self.mask_head(x, instances)
        return instances
