"""Region-based detection (arXiv:1506.01497): backbone, proposals, heads per region."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage

from ..backbone.backbone import Backbone
from ..backbone.build import build_backbone
from ..proposal_generator.build import build_proposal_generator
from ..roi_heads.roi_heads import build_roi_heads
from ._batch import (
    instances_on,
    normalized_batch,
    register_pixel_statistics,
    resized_instances,
)
from .build import META_ARCH_REGISTRY

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]

# More boxes than this hide the image in a visualisation.
_MAX_BOXES_SHOWN = 20


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(nn.Module):
    """A backbone, a proposal generator and heads that run per region."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        """Stores the parts.

        Args:
            backbone: Images to feature maps.
            proposal_generator: Feature maps to regions; None: the inputs bring ``proposals``.
            roi_heads: Regions to detections.
            pixel_mean: Subtracted from the images, one value per channel.
            pixel_std: What the images are divided by, one value per channel.
            input_format: Channel order of the images, such as "BGR"; needed to visualise.
            vis_period: Every so many iterations proposals are stored as images; 0 for never.
        """
        super().__init__()
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        if vis_period > 0:
            assert input_format is not None, "vis_period > 0 needs the input_format of the images."
        self.input_format = input_format
        self.vis_period = vis_period
        register_pixel_statistics(self, pixel_mean, pixel_std)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads ``MODEL``, ``INPUT.FORMAT`` and ``VIS_PERIOD``."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def visualize_training(
        self, batched_inputs: list[dict[str, Any]], proposals: list[Instances]
    ) -> None:
        """Stores the first image with ground-truth boxes beside it with the best proposals.

        Args:
            batched_inputs: As in ``forward``.
            proposals: Per image, regions with ``proposal_boxes``, the best ones first.
        """
        from detectron2.data.detection_utils import convert_image_to_rgb
        from detectron2.utils.visualizer import Visualizer

        first, regions = batched_inputs[0], proposals[0]
        image = convert_image_to_rgb(first["image"].permute(1, 2, 0), self.input_format)
        truth = Visualizer(image, None).overlay_instances(boxes=first["instances"].gt_boxes)
        boxes = regions.proposal_boxes.tensor[:_MAX_BOXES_SHOWN].detach().cpu().numpy()
        found = Visualizer(image, None).overlay_instances(boxes=boxes)
        both = torch.cat([torch.from_numpy(x.get_image()) for x in (truth, found)], dim=1)
        get_event_storage().put_image(
            "Left: GT bounding boxes;  Right: Predicted proposals", both.permute(2, 0, 1).numpy()
        )

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Training: losses by name. Inference: per image ``instances``.

        Args:
            batched_inputs: Per image ``image``, a (C, H, W) tensor; in training ``instances``, its
                ground truth; in inference maybe the wanted ``height`` and ``width``; ``proposals``
                where there is no proposal generator.

        Returns:
            In inference, per image ``{"instances": Instances}`` with ``pred_boxes``, ``scores``,
            ``pred_classes`` and maybe ``pred_masks``.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        gt_instances = instances_on(self.device, batched_inputs)
        proposals, proposal_losses = self._propose(batched_inputs, images, features, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**detector_losses, **proposal_losses}

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> Any:
        """Detections of a batch.

        Args:
            batched_inputs: As in ``forward``.
            detected_instances: Per image, instances with ``pred_boxes`` and ``pred_classes``; if
                given, only the rest, such as masks, is found for them.
            do_postprocess: Whether to bring the results to the wanted size.

        Returns:
            With post-processing, what ``forward`` returns; else the ``Instances`` per image, at the
            size of the network's input.
        """
        assert not self.training, "inference() needs model.eval()"
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._propose(batched_inputs, images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            detected_instances = [x.to(self.device) for x in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, detected_instances)
        if do_postprocess:
            return self._postprocess(results, batched_inputs, images.image_sizes)
        return results

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """The images on the model's device, normalised, padded and batched."""
        return normalized_batch(batched_inputs, self.pixel_mean, self.pixel_std, self.backbone)

    def _propose(
        self,
        batched_inputs: list[dict[str, Any]],
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Regions per image, from the generator or the inputs, and the generator's losses."""
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, gt_instances)
        if "proposals" not in batched_inputs[0]:
            raise KeyError("Without a proposal generator each input dict needs 'proposals'.")
        return [x["proposals"].to(self.device) for x in batched_inputs], {}

    @staticmethod
    def _postprocess(
        instances: list[Instances],
        batched_inputs: list[dict[str, Any]],
        image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Instances]]:
        """Per image ``instances`` at the wanted size."""
        return [{"instances": x} for x in resized_instances(instances, batched_inputs, image_sizes)]


@META_ARCH_REGISTRY.register()
class ProposalNetwork(nn.Module):
    """A backbone and a proposal generator: regions are the result."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        """Stores the parts; ``pixel_mean`` and ``pixel_std`` have one value per image channel."""
        super().__init__()
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        register_pixel_statistics(self, pixel_mean, pixel_std)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads ``MODEL``."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Training: losses by name. Inference: per image ``{"proposals": Instances}``.

        Args:
            batched_inputs: As in ``GeneralizedRCNN``.
        """
        images = normalized_batch(batched_inputs, self.pixel_mean, self.pixel_std, self.backbone)
        features = self.backbone(images.tensor)
        gt_instances = instances_on(self.device, batched_inputs)
        proposals, losses = self.proposal_generator(images, features, gt_instances)
        if self.training:
            return losses
        resized = resized_instances(proposals, batched_inputs, images.image_sizes)
        return [{"proposals": x} for x in resized]
