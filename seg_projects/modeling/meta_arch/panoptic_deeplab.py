"""Panoptic-DeepLab: panoptic segmentation from the bottom up (arXiv:1911.10194)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList
from seg_projects.deeplab_config import check_joint_classes, target_settings
from seg_projects.errors import UserError
from seg_projects.modeling.instance_heads import build_ins_embed_branch
from seg_projects.modeling.instance_heads.device_targets import device_targets
from seg_projects.postprocessing import argmax_labels, group_panoptic, instances_of

VOID = -1
LABEL_DIVISOR = 1000  # where the data set names none


@META_ARCH_REGISTRY.register()
class SegPanopticDeepLab(nn.Module):
    """A semantic branch, and one that gives centres and offsets, on a dilated backbone.

    Config keys, parameter names, losses and results are those of Detectron2's ``PanopticDeepLab``,
    so that its checkpoints load; the grouping is ours.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, cfg: CfgNode) -> None:
        """Builds the parts; thing classes come from the metadata of the first training set."""
        super().__init__()
        self.backbone = build_backbone(cfg)
        self.sem_seg_head = build_sem_seg_head(cfg, self.backbone.output_shape())
        self.ins_embed_head = build_ins_embed_branch(cfg, self.backbone.output_shape())
        for name, values in (
            ("pixel_mean", cfg.MODEL.PIXEL_MEAN),
            ("pixel_std", cfg.MODEL.PIXEL_STD),
        ):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        node = cfg.MODEL.PANOPTIC_DEEPLAB
        metadata = _joint_metadata(cfg)
        self.target_settings = target_settings(cfg, metadata)
        self.grouping: dict[str, Any] = {
            "thing_ids": sorted(self.target_settings["thing_ids"]),
            "label_divisor": metadata.get("label_divisor", LABEL_DIVISOR),
            "stuff_area": node.STUFF_AREA,
            "void_label": VOID,
            "threshold": node.CENTER_THRESHOLD,
            "nms_kernel": node.NMS_KERNEL,
            "top_k": node.TOP_K_INSTANCE,
        }
        _check_label_divisor(self.grouping)
        self.scale_offsets = node.SCALE_OFFSETS
        self.predict_instances = node.PREDICT_INSTANCES
        self.size_divisibility = (
            node.SIZE_DIVISIBILITY
            if node.SIZE_DIVISIBILITY > 0
            else self.backbone.size_divisibility
        )
        self.stride = max(shape.stride or 1 for shape in self.backbone.output_shape().values())
        _check_sizes(cfg, self.stride)
        # For timing the network alone, as in Detectron2.
        self.network_alone = node.BENCHMARK_NETWORK_SPEED

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Training: losses by name. Inference: a dict per image.

        Args:
            batched_inputs: per image ``image`` (3, H, W); in training the fields of
                :class:`PanopticDeepLabTargetGenerator`, or ``panoptic_ids`` and ``segments_info``
                to make them from; in inference maybe the ``height`` and ``width`` wanted.

        Returns:
            In inference, per image ``sem_seg``, the (K, height, width) logits, ``panoptic_seg``,
            a (height, width) int64 map of class * label_divisor + number, -1 for void, with None,
            and, where things are found, ``instances``.
        """
        images = [
            (one["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for one in batched_inputs
        ]
        batch = ImageList.from_tensors(images, self._divisibility)
        features = self.backbone(batch.tensor)
        if self.training:
            return self._losses(features, batched_inputs)
        logits, _ = self.sem_seg_head(features)
        centers, offsets, _, _ = self.ins_embed_head(features)
        if self.network_alone:
            return []
        return [
            self._result(one, size, inputs.get("height", size[0]), inputs.get("width", size[1]))
            for *one, size, inputs in zip(
                logits, centers, offsets, batch.image_sizes, batched_inputs, strict=True
            )
        ]

    @property
    def _divisibility(self) -> int:
        # A prediction is cut to the image; losses compare it with targets of the same size.
        return self.size_divisibility or (self.stride if self.training else 0)

    def _losses(
        self, features: dict[str, Tensor], batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor]:
        if "panoptic_ids" in batched_inputs[0]:
            batched_inputs = [
                device_targets(
                    one["panoptic_ids"].to(self.device, non_blocking=True),
                    one["segments_info"],
                    **self.target_settings,
                )
                for one in batched_inputs
            ]

        def targets(name: str, padding: float = 0) -> Tensor | None:
            if name not in batched_inputs[0]:
                return None
            maps = [one[name].to(self.device) for one in batched_inputs]
            return ImageList.from_tensors(maps, self._divisibility, padding).tensor

        labels = targets("sem_seg", self.sem_seg_head.ignore_value)
        _, losses = self.sem_seg_head(features, labels, targets("sem_seg_weights"))
        center = targets("center")
        assert center is not None, "training needs the targets of Panoptic-DeepLab"
        *_, center_losses, offset_losses = self.ins_embed_head(
            features,
            center.unsqueeze(1),
            targets("center_weights"),
            targets("offset"),
            targets("offset_weights"),
        )
        return {**losses, **center_losses, **offset_losses}

    def _result(
        self, outputs: Sequence[Tensor], size: tuple[int, int], height: int, width: int
    ) -> dict[str, Any]:
        """The dict of one image from logits, centre map and offsets at the network's size."""
        logits, heatmap, offsets = (sem_seg_postprocess(x, size, height, width) for x in outputs)
        if self.scale_offsets:
            # Filled on the device, without a copy from the host.
            offsets = torch.stack([offsets[0] * (height / size[0]), offsets[1] * (width / size[1])])
        labels = argmax_labels(logits, dtype=torch.int64)
        panoptic, _ = group_panoptic(labels, heatmap[0], offsets, **self.grouping)
        result: dict[str, Any] = {"sem_seg": logits, "panoptic_seg": (panoptic, None)}
        if self.predict_instances:
            instances = instances_of(
                panoptic,
                logits,
                heatmap[0],
                thing_ids=self.grouping["thing_ids"],
                label_divisor=self.grouping["label_divisor"],
            )
            if len(instances) > 0:
                result["instances"] = instances
        return result


def _joint_metadata(cfg: CfgNode) -> Metadata:
    """The metadata of the first training set, whose classes have to be joint, below NUM_CLASSES."""
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty: Panoptic-DeepLab takes its things from there.")
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    check_joint_classes(metadata)
    classes = {
        *metadata.thing_dataset_id_to_contiguous_id.values(),
        *metadata.stuff_dataset_id_to_contiguous_id.values(),
    }
    if len(classes) != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES}, but data set "
            f"{metadata.name!r} has {len(classes)} classes, things and stuff together."
        )
    return metadata


def _check_label_divisor(grouping: Mapping[str, Any]) -> None:
    """Raises UserError where an instance could get a number of the next class."""
    divisor, top_k = grouping["label_divisor"], grouping["top_k"]
    if divisor < top_k:
        raise UserError(
            f"The data set's label_divisor {divisor} is too small for the up to {top_k - 1} "
            f"instances of MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE: lower that to {divisor}, or "
            "raise label_divisor in the metadata."
        )


def _check_sizes(cfg: CfgNode, stride: int) -> None:
    """Raises UserError where an input would be smaller than a cell of the coarsest map."""
    sizes = {
        "INPUT.MIN_SIZE_TRAIN": min(cfg.INPUT.MIN_SIZE_TRAIN),
        "INPUT.MIN_SIZE_TEST": cfg.INPUT.MIN_SIZE_TEST,
    }
    for key, size in sizes.items():
        # 0 leaves the image as it is.
        if 0 < size < stride:
            raise UserError(f"{key} is {size}, less than the stride {stride} of the backbone.")


class PanopticDeepLab(SegPanopticDeepLab):
    """:class:`SegPanopticDeepLab` under the name that Detectron2's configs have for it."""
