"""Panoptic FPN with a merge that costs what its boxes cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, PanopticFPN
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import Instances
from seg_projects.modeling.losses.learned_balance import LearnedBalance
from seg_projects.postprocessing import argmax_labels, merge_instances_and_stuff


@META_ARCH_REGISTRY.register()
class SegPanopticFPN(PanopticFPN):
    """Mask R-CNN and a semantic head on one FPN (arXiv:1901.02446).

    Config keys, parameter names, losses and results are those of Detectron2's ``PanopticFPN``, so
    that its checkpoints load; the merge of instances and stuff is ours. A batch without a labelled
    pixel has the semantic loss 0, where that one's is NaN and ends the training.
    """

    @configurable
    def __init__(self, *, learn_balance: bool = False, **parts: Any) -> None:
        """Takes the parts of ``PanopticFPN``.

        Args:
            learn_balance: whether the weights of the two branches are learnt; see
                :class:`LearnedBalance`.
            parts: as ``PanopticFPN`` takes them.
        """
        super().__init__(**parts)
        self.balance = LearnedBalance(("instance", "semantic")) if learn_balance else None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return super().from_config(cfg) | {"learn_balance": cfg.MODEL.PANOPTIC_FPN.LEARN_BALANCE}

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Training: the losses. Inference: see :meth:`inference`."""
        outputs: Any = super().forward(batched_inputs)
        if not self.training:
            return outputs
        semantic = {name for name in outputs if name.startswith("loss_sem_seg")}
        if not self._any_label(batched_inputs):
            # The mean over no pixel; the gradient of the head is zero.
            for name in semantic:
                outputs[name] = outputs[name].nan_to_num(nan=0.0)
        if self.balance is None:
            return outputs
        branches = {name: "semantic" if name in semantic else "instance" for name in outputs}
        return self.balance(outputs, branches)

    def _any_label(self, batched_inputs: list[dict[str, Any]]) -> bool:
        # On the labels as they were loaded, in CPU memory: nothing waits for the GPU.
        ignored = self.sem_seg_head.ignore_value
        return any(bool((one["sem_seg"] != ignored).any()) for one in batched_inputs)

    def inference(  # type: ignore[override]  # as Detectron2's PanopticFPN
        self, batched_inputs: list[dict[str, Any]], do_postprocess: bool = True
    ) -> list[dict[str, Any]] | tuple[list[Instances], Tensor]:
        """Runs the network on inputs with ``image`` (3, H, W) and the ``height``, ``width`` wanted.

        Returns:
            Per image a dict of ``sem_seg``, the (K, height, width) logits, ``instances``, and
            ``panoptic_seg``, the (height, width) int32 map of segment ids and its segments.
            Without ``do_postprocess``, the raw detections and logits at the network's size.
        """
        assert self.proposal_generator is not None, "a panoptic model finds its own regions"
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        logits, _ = self.sem_seg_head(features, None)
        proposals, _ = self.proposal_generator(images, features, None)
        detections, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return detections, logits
        results = []
        for one, input_, found, size in zip(
            logits, batched_inputs, detections, images.image_sizes, strict=True
        ):
            height, width = input_.get("height", size[0]), input_.get("width", size[1])
            sem_seg = sem_seg_postprocess(one, size, height, width)
            instances = detector_postprocess(found, height, width)
            panoptic_seg = self._panoptic_seg(instances, sem_seg)
            results.append(
                {"sem_seg": sem_seg, "instances": instances, "panoptic_seg": panoptic_seg}
            )
        return results

    def _panoptic_seg(
        self, instances: Instances, sem_seg: Tensor
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        return merge_instances_and_stuff(
            instances.pred_masks,
            instances.pred_boxes.tensor,
            instances.scores,
            instances.pred_classes,
            argmax_labels(sem_seg, dtype=torch.int64),
            overlap_threshold=self.combine_overlap_thresh,
            stuff_area_limit=self.combine_stuff_area_thresh,
            score_threshold=self.combine_instances_score_thresh,
        )
