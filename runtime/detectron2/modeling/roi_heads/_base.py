"""What all ROI heads share: the registry, the sampling of proposals, the building of poolers.

Legend: R regions of one image, G ground-truth instances of one image, K classes; the class of a
background region is K.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, nonzero_tuple
from detectron2.structures import ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry

from .._lookup import select_features
from ..matcher import Matcher
from ..poolers import ROIPooler
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = """
ROI heads: subclasses of ``ROIHeads``, built as ``heads(cfg, input_shape)`` with the shape of each
feature map.
"""

# Heads for keypoints register here, as upstream; none comes with this package.
ROI_KEYPOINT_HEAD_REGISTRY = Registry("ROI_KEYPOINT_HEAD")


def select_foreground_proposals(
    proposals: list[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """Per image, the regions whose ``gt_classes`` is neither -1 nor ``bg_label``.

    Returns:
        The selected regions, and (R,) bool masks that tell which were selected.
    """
    selected, masks = [], []
    for instances in proposals:
        mask = (instances.gt_classes != -1) & (instances.gt_classes != bg_label)
        selected.append(instances[nonzero_tuple(mask)[0]])
        masks.append(mask)
    return selected, masks


def log_num_samples(name: str, gt_classes: list[Tensor], bg_label: int) -> None:
    """Stores the mean numbers of foreground and background regions per image under ``name``."""
    if not gt_classes:
        return
    background = torch.stack([(x == bg_label).sum() for x in gt_classes]).sum().item()
    total = sum(x.numel() for x in gt_classes)
    storage = get_event_storage()
    storage.put_scalar(f"{name}/num_fg_samples", (total - background) / len(gt_classes))
    storage.put_scalar(f"{name}/num_bg_samples", background / len(gt_classes))


class ROIHeads(nn.Module):
    """Base of all ROI heads: labels proposals and samples those that training looks at."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        """Stores how to sample.

        Args:
            num_classes: K, without the background.
            batch_size_per_image: Number of regions to sample per image.
            positive_fraction: Largest share of foreground regions among them.
            proposal_matcher: From IoU with the ground truth to matches and labels.
            proposal_append_gt: Whether the ground-truth boxes are proposals too.
        """
        super().__init__()
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.num_classes = num_classes
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads ``MODEL.ROI_HEADS``."""
        heads = cfg.MODEL.ROI_HEADS
        return {
            "batch_size_per_image": heads.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": heads.POSITIVE_FRACTION,
            "num_classes": heads.NUM_CLASSES,
            "proposal_append_gt": heads.PROPOSAL_APPEND_GT,
            "proposal_matcher": Matcher(
                heads.IOU_THRESHOLDS, heads.IOU_LABELS, allow_low_quality_matches=False
            ),
        }

    def _sample_proposals(
        self, matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Chooses regions of one image at random, foreground ones first.

        Args:
            matched_idxs: (R,) ground-truth index of each region.
            matched_labels: (R,) 1 for foreground, 0 for background, -1 for ignored.
            gt_classes: (G,) classes.

        Returns:
            Indices of the chosen regions, and the class of each of them.
        """
        if gt_classes.numel() > 0:
            labels = gt_classes[matched_idxs]
            labels = labels.masked_fill(matched_labels == 0, self.num_classes)
            labels = labels.masked_fill(matched_labels == -1, -1)
        else:
            labels = torch.full_like(matched_idxs, self.num_classes)
        chosen = torch.cat(
            subsample_labels(
                labels, self.batch_size_per_image, self.positive_fraction, self.num_classes
            )
        )
        return chosen, labels[chosen]

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Matches proposals to the ground truth and samples some of them.

        Args:
            proposals: Per image, regions with ``proposal_boxes``.
            targets: Per image, the ground truth: ``gt_boxes``, ``gt_classes``, ...

        Returns:
            Per image the sampled regions with ``gt_classes`` and, unless the image has no ground
            truth, each other ``gt_*`` field of their matches.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled = [
            self._label_and_sample(regions, truth)
            for regions, truth in zip(proposals, targets, strict=True)
        ]
        log_num_samples("roi_head", [x.gt_classes for x in sampled], self.num_classes)
        return sampled

    def _label_and_sample(self, proposals: Instances, targets: Instances) -> Instances:
        """``label_and_sample_proposals`` of one image."""
        quality = pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)
        matched_idxs, matched_labels = self.proposal_matcher(quality)
        chosen, gt_classes = self._sample_proposals(
            matched_idxs, matched_labels, targets.gt_classes
        )
        sampled = proposals[chosen]
        sampled.gt_classes = gt_classes
        if len(targets) > 0:
            matches = matched_idxs[chosen]
            for name, value in targets.get_fields().items():
                if name.startswith("gt_") and not sampled.has(name):
                    sampled.set(name, value[matches])
        return sampled

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Training: (sampled proposals, losses). Inference: (detections, {}).

        Args:
            images: The batch.
            features: Feature maps by name, (N, C, H, W) each.
            proposals: Per image, regions with ``proposal_boxes``.
            targets: Training only; per image the ground truth, ``gt_boxes``, ``gt_classes``, ...
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward().")


def build_pooler(
    head: CfgNode, in_features: list[str], input_shape: dict[str, ShapeSpec]
) -> tuple[ROIPooler, ShapeSpec]:
    """The pooler that a head's config describes, and the shape of what it gives."""
    shapes = select_features(input_shape, in_features, key="MODEL.ROI_HEADS.IN_FEATURES")
    channels = {shape.channels or 0 for shape in shapes}
    if len(channels) != 1:
        raise ValueError(
            f"MODEL.ROI_HEADS.IN_FEATURES {list(in_features)} must have equally many channels, "
            f"not {sorted(channels)}."
        )
    side = head.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=side,
        scales=tuple(1.0 / (shape.stride or 1) for shape in shapes),
        sampling_ratio=head.POOLER_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
    )
    return pooler, ShapeSpec(channels=channels.pop(), height=side, width=side)


def refuse_keypoints(*settings: object) -> None:
    if any(x is not None and x is not False for x in settings):
        raise NotImplementedError(
            "There are no keypoint heads here: set MODEL.KEYPOINT_ON False, pass no keypoint_*."
        )
