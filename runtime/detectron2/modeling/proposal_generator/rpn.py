"""Region proposal network (arXiv:1506.01497).

N images, L levels of a feature pyramid, A anchors per position, B numbers per box (4),
R_l = H_l * W_l * A anchors of level l, R of all levels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from detectron2.utils.memory import retry_if_cuda_oom
from detectron2.utils.registry import Registry

from .._lookup import find_registered, select_features
from ..anchor_generator import build_anchor_generator
from ..box_regression import Box2BoxTransform, BoxTransform, box_regression_loss
from ..matcher import Matcher
from ..sampling import subsample_labels
from .build import PROPOSAL_GENERATOR_REGISTRY
from .proposal_utils import suppress_proposals, top_candidates

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
RPN_HEAD_REGISTRY.__doc__ = """
Modules that predict an objectness and a box for each anchor; each is called as
``cls(cfg, input_shape)``, and then with the list of feature maps, for two lists: (N, A, H, W)
logits and (N, A * 4, H, W) deltas.
"""


def build_rpn_head(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The head that ``cfg.MODEL.RPN.HEAD_NAME`` names."""
    name = cfg.MODEL.RPN.HEAD_NAME
    return find_registered(RPN_HEAD_REGISTRY, name, "MODEL.RPN.HEAD_NAME")(cfg, input_shape)


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3x3 convolutions, then a 1x1 one each for objectness and box, shared by all levels."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: list[int] | tuple[int, ...] = (-1,),
    ) -> None:
        """Makes the convolutions, with weights of standard deviation 0.01.

        Args:
            in_channels: channels of every feature map.
            num_anchors: anchors per position.
            box_dim: numbers that describe a box.
            conv_dims: channels of each 3x3 convolution; -1 keeps those of its input.
        """
        super().__init__()
        convs, channels = [], in_channels
        for dim in conv_dims:
            out_channels = channels if dim == -1 else dim
            if out_channels <= 0:
                raise ValueError(
                    f"MODEL.RPN.CONV_DIMS = {list(conv_dims)}: channels are positive, or -1 to "
                    "keep those of the input."
                )
            convs.append(
                Conv2d(channels, out_channels, kernel_size=3, padding=1, activation=nn.ReLU())
            )
            channels = out_channels
        # Published weights of the usual single convolution have no index in their names.
        self.conv = convs[0] if len(convs) == 1 else nn.Sequential()
        if len(convs) > 1:
            for index, conv in enumerate(convs):
                self.conv.add_module(f"conv{index}", conv)
        self.objectness_logits = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * box_dim, kernel_size=1)
        for conv in (*convs, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.RPN.CONV_DIMS``, and the number of anchors from their generator."""
        channels = [shape.channels for shape in input_shape]
        if len(set(channels)) != 1:
            raise ValueError(
                "MODEL.RPN.IN_FEATURES: one head serves all levels, so that they need equal "
                f"channels, not {channels}."
            )
        anchor_generator = build_anchor_generator(cfg, input_shape)
        num_anchors = set(anchor_generator.num_anchors)
        if len(num_anchors) != 1:
            raise ValueError(
                "MODEL.ANCHOR_GENERATOR: one head serves all levels, so that they need as many "
                f"anchors per position, not {anchor_generator.num_anchors}."
            )
        return {
            "in_channels": channels[0],
            "num_anchors": num_anchors.pop(),
            "box_dim": anchor_generator.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predicts for the anchors of each level.

        Args:
            features: (N, C, H, W) maps, one per level.

        Returns:
            (N, A, H, W) objectness logits and (N, A * B, H, W) deltas, of each level.
        """
        hidden = [self.conv(feature) for feature in features]
        return [self.objectness_logits(h) for h in hidden], [self.anchor_deltas(h) for h in hidden]


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Scores and refines anchors; the best ones become proposals."""

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: float = -1.0,
        loss_weight: float | dict[str, float] = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
    ) -> None:
        """Assembles the network.

        Args:
            in_features: names of the feature maps, one per level.
            head: predicts logits and deltas, as ``StandardRPNHead`` does.
            anchor_generator: gives the anchors of each level.
            anchor_matcher: labels anchors by their IoU with the ground truth.
            box2box_transform: gives the deltas their meaning.
            batch_size_per_image: anchors that the losses are computed on.
            positive_fraction: the largest share of positives among these.
            pre_nms_topk: boxes per level before suppression, in (training, inference).
            post_nms_topk: proposals per image after it, in (training, inference).
            nms_thresh: IoU above which a lower scored proposal is dropped.
            min_box_size: proposals' sides must be longer than this, in pixels.
            anchor_boundary_thresh: anchors that stick out of the image by more than this, in
                pixels, are left out of the losses; none if negative.
            loss_weight: of all losses, or by the name of each.
            box_reg_loss_type: ``smooth_l1``, ``giou``, ``diou`` or ``ciou``.
            smooth_l1_beta: where smooth L1 becomes linear; 0 makes it L1.
        """
        super().__init__()
        self.in_features = in_features
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        # By ``self.training``.
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        if isinstance(loss_weight, (int, float)):
            loss_weight = {"loss_rpn_cls": loss_weight, "loss_rpn_loc": loss_weight}
        self.loss_weight = loss_weight
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.RPN``, and builds head, anchors and matcher."""
        node = cfg.MODEL.RPN
        shapes = select_features(input_shape, node.IN_FEATURES, "MODEL.RPN.IN_FEATURES")
        return {
            "in_features": node.IN_FEATURES,
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(
                node.IOU_THRESHOLDS, node.IOU_LABELS, allow_low_quality_matches=True
            ),
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "batch_size_per_image": node.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": node.POSITIVE_FRACTION,
            "pre_nms_topk": (node.PRE_NMS_TOPK_TRAIN, node.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (node.POST_NMS_TOPK_TRAIN, node.POST_NMS_TOPK_TEST),
            "nms_thresh": node.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": node.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": node.LOSS_WEIGHT,
                "loss_rpn_loc": node.BBOX_REG_LOSS_WEIGHT * node.LOSS_WEIGHT,
            },
            "box_reg_loss_type": node.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": node.SMOOTH_L1_BETA,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Proposes boxes, and computes the losses in training.

        Args:
            images: the N images; only their sizes matter.
            features: (N, C, H, W) maps by name.
            gt_instances: ``gt_boxes`` of each image; needed in training.

        Returns:
            ``proposal_boxes`` and ``objectness_logits`` of each image, without gradients; and the
            losses, which are none at inference.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        logits = [_anchors_last(level, 1).squeeze(-1) for level in logits]
        deltas = [_anchors_last(level, self.anchor_generator.box_dim) for level in deltas]
        losses: dict[str, Tensor] = {}
        if self.training:
            assert gt_instances is not None, "RPN needs gt_instances in training"
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Matches anchors with the ground truth and draws those that the losses see.

        Args:
            anchors: those of each level.
            gt_instances: ``gt_boxes`` of each image.

        Returns:
            For each image, (R,) int8 labels, 1 for positive, 0 for negative, -1 for not drawn; and
            the (R, 4) ground truth boxes of the anchors, which mean nothing but for positives.
        """
        all_anchors = Boxes.cat(anchors)
        all_labels, all_boxes = [], []
        for instances in gt_instances:
            gt_boxes = instances.gt_boxes
            quality = retry_if_cuda_oom(pairwise_iou)(gt_boxes, all_anchors)
            matches, labels = retry_if_cuda_oom(self.anchor_matcher)(quality)
            labels = labels.to(gt_boxes.device)  # it may have been computed on the CPU
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(instances.image_size, self.anchor_boundary_thresh)
                labels = labels.masked_fill(~inside, -1)
            all_labels.append(self._sample(labels))
            if len(gt_boxes):
                all_boxes.append(gt_boxes.tensor[matches.to(gt_boxes.device)])
            else:
                all_boxes.append(torch.zeros_like(all_anchors.tensor))
        return all_labels, all_boxes

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls`` and ``loss_rpn_loc``, both per anchor that could have been drawn.

        Args:
            anchors: those of each level.
            pred_objectness_logits: (N, R_l) for each level.
            gt_labels: (R,) for each image, from ``label_and_sample_anchors``.
            pred_anchor_deltas: (N, R_l, B) for each level.
            gt_boxes: (R, 4) for each image, from ``label_and_sample_anchors``.
        """
        labels = torch.stack(gt_labels)  # (N, R)
        positive, negative = labels == 1, labels == 0
        images, rows = positive.nonzero(as_tuple=True)
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", len(rows) / len(labels))
        storage.put_scalar("rpn/num_neg_anchors", int(negative.sum()) / len(labels))

        localization_loss = box_regression_loss(
            self.box2box_transform,
            Boxes.cat(anchors).tensor[rows],
            torch.cat(pred_anchor_deltas, dim=1)[images, rows],
            torch.stack(gt_boxes)[images, rows],
            loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        logits = torch.cat(pred_objectness_logits, dim=1)
        # Weights, not an index: the host need not know how many anchors were drawn.
        objectness_loss = F.binary_cross_entropy_with_logits(
            logits,
            positive.to(logits.dtype),
            weight=(positive | negative).to(logits.dtype),
            reduction="sum",
        )
        normalizer = self.batch_size_per_image * len(labels)
        losses = {
            "loss_rpn_cls": objectness_loss / normalizer,
            "loss_rpn_loc": localization_loss / normalizer,
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """The proposals of each image: what ``find_top_rpn_proposals`` finds among the boxes.

        Args:
            anchors: those of each level.
            pred_objectness_logits: (N, R_l) for each level.
            pred_anchor_deltas: (N, R_l, B) for each level.
            image_sizes: (height, width) of each image.
        """
        boxes, scores = [], []
        for level_anchors, logits, deltas in zip(
            anchors, pred_objectness_logits, pred_anchor_deltas, strict=True
        ):
            # Only candidates are decoded, a hundredth of the finest level's anchors.
            level_scores, rows = top_candidates(logits, self.pre_nms_topk[self.training])
            chosen = deltas.gather(1, rows[..., None].expand(-1, -1, deltas.shape[2]))
            decoded = self.box2box_transform.apply_deltas(
                chosen.flatten(0, 1), level_anchors.tensor[rows.flatten()]
            )
            scores.append(level_scores)
            boxes.append(decoded.view(*rows.shape, -1))
        return suppress_proposals(
            boxes,
            scores,
            image_sizes,
            self.nms_thresh,
            self.post_nms_topk[self.training],
            self.min_box_size,
            self.training,
        )

    def _sample(self, labels: Tensor) -> Tensor:
        """A copy of the (R,) ``labels`` with -1 for all that was not drawn for the losses."""
        positive, negative = subsample_labels(
            labels, self.batch_size_per_image, self.positive_fraction, 0
        )
        sampled = torch.full_like(labels, -1)
        sampled[positive] = 1
        sampled[negative] = 0
        return sampled


def _anchors_last(prediction: Tensor, size: int) -> Tensor:
    """(N, A * size, H, W) to (N, H * W * A, size): the order of the anchors."""
    n, _, height, width = prediction.shape
    split = prediction.view(n, -1, size, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(n, -1, size)
