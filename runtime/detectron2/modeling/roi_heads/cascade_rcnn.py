"""Cascade R-CNN (arXiv:1712.00726): box heads in a row, each refines the boxes of the last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, FunctionCtx

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage

from ..box_regression import Box2BoxTransform
from ..matcher import Matcher
from ..poolers import ROIPooler
from ._base import ROI_HEADS_REGISTRY, build_pooler, log_num_samples
from .box_head import build_box_head
from .fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from .roi_heads import StandardROIHeads

# Scores and deltas of a stage, and the regions that they belong to.
_StageOutput = tuple[tuple[Tensor, Tensor], list[Instances]]


class _ScaleGradient(Function):
    """The identity, whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """Box heads in a row, trained at rising IoU; scores are averaged over the stages."""

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_heads: list[nn.Module],
        box_predictors: list[nn.Module],
        proposal_matchers: list[Matcher],
        **kwargs: Any,
    ) -> None:
        """Stores the parts; of heads, predictors and matchers there is one per stage.

        Args:
            box_in_features: Names of the feature maps that the box heads read.
            box_pooler: Pools the features of boxes, for all stages.
            box_heads: Features per region for the predictors.
            box_predictors: ``FastRCNNOutputLayers`` whose boxes do not depend on the class.
            proposal_matchers: From IoU with the ground truth to matches and labels; the first one
                labels the proposals.
            **kwargs: Arguments of ``StandardROIHeads``, except ``proposal_matcher``.
        """
        if "proposal_matcher" in kwargs:
            raise AssertionError(
                "A cascade takes proposal_matchers, one per stage, not one matcher."
            )
        stages = len(box_heads)
        if not (stages == len(box_predictors) == len(proposal_matchers)):
            raise AssertionError(
                f"A cascade needs equally many box_heads ({stages}), box_predictors "
                f"({len(box_predictors)}) and proposal_matchers ({len(proposal_matchers)})."
            )
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.num_cascade_stages = stages
        self.proposal_matchers = proposal_matchers

    @classmethod
    def from_config(  # type: ignore[override]  # as upstream's
        cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]
    ) -> dict[str, Any]:
        """Reads what ``StandardROIHeads`` reads, and ``MODEL.ROI_BOX_CASCADE_HEAD``."""
        ret = super().from_config(cfg, input_shape)
        del ret["proposal_matcher"]
        return ret

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        weights = cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS
        ious = cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS
        _check_cascade_config(cfg)
        pooler, pooled_shape = build_pooler(cfg.MODEL.ROI_BOX_HEAD, in_features, input_shape)
        heads, predictors = [], []
        # Head by head, each with its predictor: the same random stream as Detectron2's.
        for stage_weights in weights:
            heads.append(build_box_head(cfg, pooled_shape))
            predictors.append(
                FastRCNNOutputLayers(
                    cfg,
                    heads[-1].output_shape,
                    box2box_transform=Box2BoxTransform(weights=stage_weights),
                )
            )
        return {
            "box_in_features": in_features,
            "box_pooler": pooler,
            "box_heads": heads,
            "box_predictors": predictors,
            "proposal_matchers": [
                Matcher([iou], [0, 1], allow_low_quality_matches=False) for iou in ious
            ],
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Training: (sampled proposals, losses per stage). Inference: (detections, {})."""
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        assert targets is not None, "training needs targets"
        proposals = self.label_and_sample_proposals(proposals, targets)
        losses = self._forward_box(features, proposals, targets)
        losses.update(self._forward_mask(features, proposals))
        return proposals, losses

    def _forward_box(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> Any:
        """Training: the losses, named ``<loss>_stage<k>``. Inference: the detections per image."""
        maps = [features[name] for name in self.box_in_features]
        image_sizes = [x.image_size for x in proposals]
        outputs: list[_StageOutput] = []
        for stage in range(self.num_cascade_stages):
            if stage > 0:
                boxes = self.box_predictor[stage - 1].predict_boxes(*outputs[-1])
                proposals = self._create_proposals_from_boxes(boxes, image_sizes)
                if self.training:
                    assert targets is not None
                    proposals = self._match_and_label_boxes(proposals, stage, targets)
            outputs.append((self._run_stage(maps, proposals, stage), proposals))
        return self._losses(outputs) if self.training else self._detect(outputs, image_sizes)

    def _losses(self, outputs: list[_StageOutput]) -> dict[str, Tensor]:
        losses = {}
        storage = get_event_storage()
        for stage, (predictor, output) in enumerate(zip(self.box_predictor, outputs, strict=True)):
            with storage.name_scope(f"stage{stage}"):
                stage_losses = predictor.losses(*output)
            losses.update({f"{name}_stage{stage}": loss for name, loss in stage_losses.items()})
        return losses

    def _detect(
        self,
        outputs: list[_StageOutput],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Detections from the boxes of the last stage and the mean scores of all stages."""
        scores = [
            predictor.predict_probs(*output)
            for predictor, output in zip(self.box_predictor, outputs, strict=True)
        ]
        last = self.box_predictor[-1]
        detections, _ = fast_rcnn_inference(
            last.predict_boxes(*outputs[-1]),
            [sum(per_stage) / self.num_cascade_stages for per_stage in zip(*scores, strict=True)],
            image_sizes,
            last.test_score_thresh,
            last.test_nms_thresh,
            last.test_topk_per_image,
        )
        return detections

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        """Sets ``gt_classes`` and ``gt_boxes`` of the regions of a stage, in place."""
        for regions, truth in zip(proposals, targets, strict=True):
            quality = pairwise_iou(truth.gt_boxes, regions.proposal_boxes)
            matched_idxs, labels = self.proposal_matchers[stage](quality)
            if len(truth) > 0:
                classes = truth.gt_classes[matched_idxs]
                regions.gt_classes = classes.masked_fill(labels == 0, self.num_classes)
                regions.gt_boxes = truth.gt_boxes[matched_idxs]
            else:
                regions.gt_classes = torch.full_like(matched_idxs, self.num_classes)
                regions.gt_boxes = Boxes(torch.zeros_like(regions.proposal_boxes.tensor))
        name = f"stage{stage}/roi_head"
        log_num_samples(name, [x.gt_classes for x in proposals], self.num_classes)
        return proposals

    def _run_stage(
        self, maps: list[Tensor], proposals: list[Instances], stage: int
    ) -> tuple[Tensor, Tensor]:
        """Scores and deltas of the regions of a stage."""
        pooled = self.box_pooler(maps, [x.proposal_boxes for x in proposals])
        # The stages together weigh on the shared features as much as one head would.
        pooled = _ScaleGradient.apply(pooled, 1.0 / self.num_cascade_stages)
        return self.box_predictor[stage](self.box_head[stage](pooled))

    def _create_proposals_from_boxes(
        self, boxes: list[Tensor], image_sizes: list[tuple[int, int]]
    ) -> list[Instances]:
        """Regions of the next stage: clipped boxes without gradient; training drops empty ones."""
        proposals = []
        for image_boxes, image_size in zip(boxes, image_sizes, strict=True):
            regions = Boxes(image_boxes.detach())
            regions.clip(image_size)
            if self.training:
                # Inference keeps them: its scores are averaged row by row over the stages.
                regions = regions[regions.nonempty()]
            proposals.append(Instances(image_size, proposal_boxes=regions))
        return proposals


def _check_cascade_config(cfg: CfgNode) -> None:
    """Refuses settings that a cascade cannot have."""
    cascade, heads = cfg.MODEL.ROI_BOX_CASCADE_HEAD, cfg.MODEL.ROI_HEADS
    if len(cascade.BBOX_REG_WEIGHTS) != len(cascade.IOUS):
        raise AssertionError(
            f"MODEL.ROI_BOX_CASCADE_HEAD needs as many BBOX_REG_WEIGHTS "
            f"({len(cascade.BBOX_REG_WEIGHTS)}) as IOUS ({len(cascade.IOUS)})."
        )
    if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
        raise AssertionError(
            "CascadeROIHeads refines boxes without regard to the class: set "
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True."
        )
    if cascade.IOUS[0] != heads.IOU_THRESHOLDS[0]:
        raise AssertionError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS starts with {cascade.IOUS[0]}, which must equal "
            f"MODEL.ROI_HEADS.IOU_THRESHOLDS[0], {heads.IOU_THRESHOLDS[0]}."
        )
