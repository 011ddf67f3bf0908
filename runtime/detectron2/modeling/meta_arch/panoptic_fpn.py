"""Panoptic FPN (arXiv:1901.02446): instances and semantics from one backbone, merged to one map.

Legend: N instances of one image, K semantic classes, H x W pixels.
"""

from __future__ import annotations

import logging
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers.label_map import label_map
from detectron2.structures import ImageList, Instances

from ..postprocessing import sem_seg_postprocess
from ._batch import instances_on, label_batch, output_size, resized_instances
from .build import META_ARCH_REGISTRY
from .rcnn import GeneralizedRCNN
from .semantic_seg import build_sem_seg_head

__all__ = ["PanopticFPN"]

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """``GeneralizedRCNN`` with a semantic head beside the heads per region."""

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: nn.Module,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        **kwargs: Any,
    ) -> None:
        """Stores the parts.

        Args:
            sem_seg_head: Feature maps to class scores per pixel; its class 0 stands for all things.
            combine_overlap_thresh: An instance covered by better ones to a larger share is dropped.
            combine_stuff_area_thresh: Smallest area of stuff, in pixels.
            combine_instances_score_thresh: Smallest score of an instance.
            **kwargs: Arguments of ``GeneralizedRCNN``.
        """
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads what ``GeneralizedRCNN`` reads, ``SEM_SEG_HEAD`` and ``PANOPTIC_FPN``."""
        ret = super().from_config(cfg)
        panoptic = cfg.MODEL.PANOPTIC_FPN
        if not panoptic.COMBINE.ENABLED:
            logger.warning(
                "MODEL.PANOPTIC_FPN.COMBINE.ENABLED = False has no effect: call "
                "inference(..., do_postprocess=False) for results that are not merged."
            )
        ret.update(
            sem_seg_head=build_sem_seg_head(cfg, ret["backbone"].output_shape()),
            combine_overlap_thresh=panoptic.COMBINE.OVERLAP_THRESH,
            combine_stuff_area_thresh=panoptic.COMBINE.STUFF_AREA_LIMIT,
            combine_instances_score_thresh=panoptic.COMBINE.INSTANCES_CONFIDENCE_THRESH,
        )
        if panoptic.INSTANCE_LOSS_WEIGHT != 1.0:
            _scale_instance_losses(ret["roi_heads"], panoptic.INSTANCE_LOSS_WEIGHT)
        return ret

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Training: losses by name. Inference: per image instances, semantics and their merger.

        Args:
            batched_inputs: As in ``GeneralizedRCNN``, in training with ``sem_seg`` too, an (H, W)
                integer label map.

        Returns:
            In inference, per image ``instances``, ``sem_seg`` ((K, H, W) scores) and
            ``panoptic_seg`` as ``combine_semantic_and_instance_outputs`` returns it.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if "sem_seg" not in batched_inputs[0] or "instances" not in batched_inputs[0]:
            raise AssertionError(
                "PanopticFPN trains on input dicts with 'sem_seg' and 'instances'; the first one "
                f"has {sorted(batched_inputs[0])}."
            )
        ignore_value = self.sem_seg_head.ignore_value
        labels = label_batch(batched_inputs, self.device, self.backbone, ignore_value)
        gt_instances = instances_on(self.device, batched_inputs)
        _, losses = self.sem_seg_head(features, labels)
        proposals, proposal_losses = self._propose(batched_inputs, images, features, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        return {**losses, **proposal_losses, **detector_losses}

    def inference(  # type: ignore[override]  # as upstream's
        self, batched_inputs: list[dict[str, Any]], do_postprocess: bool = True
    ) -> Any:
        """Results of a batch.

        Args:
            batched_inputs: As in ``forward``.
            do_postprocess: Whether to bring the results to the wanted size and merge them.

        Returns:
            With post-processing, what ``forward`` returns; else the ``Instances`` per image and the
            (N, K, H, W) scores of the padded batch.
        """
        assert not self.training, "inference() needs model.eval()"
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        scores, _ = self.sem_seg_head(features, None)
        proposals, _ = self._propose(batched_inputs, images, features, None)
        detections, _ = self.roi_heads(images, features, proposals, None)
        if do_postprocess:
            return self._merge(batched_inputs, images, detections, scores)
        return detections, scores

    def _merge(
        self,
        batched_inputs: list[dict[str, Any]],
        images: ImageList,
        detections: list[Instances],
        scores: Tensor,
    ) -> list[dict[str, Any]]:
        """Per image the three results of ``forward``."""
        sizes = images.image_sizes
        resized = resized_instances(detections, batched_inputs, sizes)
        results = []
        for instances, inputs, size, score in zip(
            resized, batched_inputs, sizes, scores, strict=True
        ):
            sem_seg = sem_seg_postprocess(score, size, *output_size(inputs, size))
            panoptic_seg = combine_semantic_and_instance_outputs(
                instances,
                label_map(sem_seg).long(),
                self.combine_overlap_thresh,
                self.combine_stuff_area_thresh,
                self.combine_instances_score_thresh,
            )
            results.append(
                {"sem_seg": sem_seg, "instances": instances, "panoptic_seg": panoptic_seg}
            )
        return results


def combine_semantic_and_instance_outputs(
    instance_results: Instances,
    semantic_results: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    instances_score_thresh: float,
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Merges instances and semantics to one segment per pixel (arXiv:1801.00868, section 7).

    Instances take their pixels in the order of their scores; stuff gets what they leave.

    Args:
        instance_results: N instances: ``scores``, ``pred_classes``, (N, H, W) ``pred_masks``.
        semantic_results: (H, W) integer classes; class 0 stands for all things.
        overlap_threshold: An instance of which a larger share is taken already is dropped.
        stuff_area_thresh: Stuff of fewer pixels is dropped.
        instances_score_thresh: Instances with lower scores are dropped.

    Returns:
        An (H, W) int32 map of segment ids, 0 where there is none, and for each segment its ``id``,
        ``isthing``, ``category_id`` and ``score`` and ``instance_id`` (things) or ``area`` (stuff).
    """
    ranked = _rank(instance_results, instances_score_thresh)
    masks = instance_results.pred_masks.to(device=semantic_results.device, dtype=torch.bool)
    lowest = min(0, int(semantic_results.min()))
    # One key per pixel: the rank of the instance that has it, else the number of ranks + label.
    keys = semantic_results.long() + (len(ranked) - lowest)
    order = [x.instance_id for x in ranked]
    claim = _claim_in_rounds if keys.is_cuda else _claim_in_turn
    accepted = claim(keys, masks, order, overlap_threshold)

    segments: list[dict[str, Any]] = []
    for rank in accepted:
        segments.append({"id": len(segments) + 1, "isthing": True, **ranked[rank]._asdict()})
    id_of_key = dict(zip(accepted, count(1)))

    areas = keys.flatten().bincount(minlength=len(ranked))[len(ranked) :].tolist()
    # Only where empty stuff passes too it matters whether a label occurs below the instances.
    present = None if stuff_area_thresh > 0 else set(semantic_results.unique().tolist())
    for label, area in enumerate(areas, start=lowest):
        if label == 0 or area < stuff_area_thresh or (present is not None and label not in present):
            continue
        segment_id = len(segments) + 1
        id_of_key[len(ranked) + label - lowest] = segment_id
        segments.append({"id": segment_id, "isthing": False, "category_id": label, "area": area})

    table = [id_of_key.get(key, 0) for key in range(len(ranked) + len(areas))]
    return keys.new_tensor(table, dtype=torch.int32)[keys], segments


class _RankedInstance(NamedTuple):
    """What a segment tells of its instance."""

    score: float
    category_id: int
    instance_id: int


def _rank(instances: Instances, score_thresh: float) -> list[_RankedInstance]:
    """The instances by falling score, up to the first one below the threshold."""
    order = torch.argsort(-instances.scores, stable=True)
    # float64 holds all three exactly; one transfer from the device.
    columns = [instances.scores[order], instances.pred_classes[order], order]
    ranked = [
        _RankedInstance(score, int(category_id), int(instance_id))
        for score, category_id, instance_id in torch.stack(
            [x.detach().double() for x in columns], dim=1
        ).tolist()
    ]
    return list(takewhile(lambda x: not x.score < score_thresh, ranked))


def _claim_in_turn(
    keys: Tensor, masks: Tensor, order: list[int], overlap_threshold: float
) -> list[int]:
    """Gives pixels to instances one after the other, inside the bounding box of each mask.

    Args:
        keys: (H, W) int64 on the CPU; changed in place to the rank of the instance of each pixel
            that has one.
        masks: (N, H, W) bool.
        order: Index of the mask of each rank.
        overlap_threshold: Largest share of taken pixels.

    Returns:
        The accepted ranks.
    """
    accepted = []
    key_map, mask_array = keys.numpy(), masks.numpy()
    taken = np.zeros(key_map.shape, dtype=bool)
    for rank, index in enumerate(order):
        box = _bounding_box(mask_array[index])
        if box is None:
            continue
        mask, taken_here = mask_array[index][box], taken[box]
        overlap = np.count_nonzero(mask & taken_here)
        if overlap / np.count_nonzero(mask) > overlap_threshold:
            continue
        free = mask & ~taken_here if overlap else mask
        np.copyto(key_map[box], rank, where=free)
        taken_here |= free
        accepted.append(rank)
    return accepted


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns that hold all pixels of a mask; None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return None
    rows_slice = slice(rows[0], rows[-1] + 1)
    columns = np.flatnonzero(mask[rows_slice].any(axis=0))
    return rows_slice, slice(columns[0], columns[-1] + 1)


def _claim_in_rounds(
    keys: Tensor, masks: Tensor, order: list[int], overlap_threshold: float
) -> list[int]:
    """``_claim_in_turn`` for devices where many small steps are slow: all instances at once.

    Whether a rank is accepted depends on better ranks alone. So, from any guess, the first t ranks
    are decided rightly after t rounds; the rounds end when nothing changes, mostly after few.
    """
    if not order:
        return []
    masks = masks[order]
    ranks = torch.arange(len(order), dtype=torch.int16, device=keys.device)[:, None, None]
    areas = masks.sum(dim=(1, 2))
    accepted = areas > 0
    while True:
        claims = torch.where(masks & accepted[:, None, None], ranks, len(order))
        owner = claims.amin(dim=0)
        overlaps = (masks & (owner < ranks)).sum(dim=(1, 2))
        fits = (areas > 0) & (overlaps.double() / areas <= overlap_threshold)
        if torch.equal(fits, accepted):
            break
        accepted = fits
    torch.where(owner < len(order), owner.long(), keys, out=keys)
    return accepted.nonzero()[:, 0].tolist()


def _scale_instance_losses(roi_heads: nn.Module, weight: float) -> None:
    """Multiplies the loss weights that heads have of their own by ``weight``.

    As in Detectron2 that spares ``loss_cls``, which predictors built from a config do not weigh.
    """
    predictors = roi_heads.box_predictor
    for predictor in predictors if isinstance(predictors, nn.ModuleList) else [predictors]:
        predictor.loss_weight = {k: v * weight for k, v in predictor.loss_weight.items()}
    if roi_heads.mask_on:
        roi_heads.mask_head.loss_weight *= weight
