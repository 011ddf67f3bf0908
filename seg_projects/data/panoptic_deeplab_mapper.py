"""The training mapper of Panoptic-DeepLab: from a panoptic record to image and targets."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from seg_projects.data.augmentation import Step, build_augmentations
from seg_projects.data.images import as_tensor
from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator
from seg_projects.data.panoptic_scenes import PanopticScenes
from seg_projects.deeplab_config import target_settings
from seg_projects.errors import UserError


class PanopticDeepLabMapper:
    """Turns a panoptic record into a training input of :class:`SegPanopticDeepLab`.

    The records are those of joint panoptic data sets, ours and Detectron2's
    (``coco_2017_*_panoptic``, ``cityscapes_fine_panoptic_*``): ``segments_info`` names classes.
    Image and ids go through the same augmentations; what is padded is void.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: Sequence[Step],
        image_format: str,
        generate_targets: PanopticDeepLabTargetGenerator,
        targets_on_device: bool = False,
        partners: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Takes what the config says.

        Args:
            is_train: False gives the image alone, in the size that the model is tested with.
            augmentations: applied in this order, see ``build_augmentations``.
            image_format: channel order of ``image``, as in ``cfg.INPUT.FORMAT``.
            generate_targets: called with the ids after augmentation and their segments.
            targets_on_device: leave the targets to the model, and give it the ids.
            partners: records that ``copy_paste`` takes objects from.
        """
        self.is_train = is_train
        self.scenes = PanopticScenes(
            augmentations,
            image_format=image_format,
            thing_ids=generate_targets.thing_ids,
            partners=partners,
        )
        self.generate_targets = generate_targets
        self.targets_on_device = targets_on_device

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """In training resize, crop, flip, in this order, then ``INPUT.AUGMENTATIONS``."""
        metadata = MetadataCatalog.get((cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST)[0])
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train, crop_after_resize=True),
            "image_format": cfg.INPUT.FORMAT,
            "generate_targets": PanopticDeepLabTargetGenerator(**target_settings(cfg, metadata)),
            "targets_on_device": cfg.MODEL.PANOPTIC_DEEPLAB.TARGETS_ON_DEVICE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with ``image`` (C, H, W) and, in training, its targets.

        These are the fields of :class:`PanopticDeepLabTargetGenerator`, or, for targets on the
        device, ``panoptic_ids`` (H, W) int32. The record itself is left as it is.
        """
        result = copy.copy(record)
        if not self.is_train:
            result["image"] = as_tensor(self.scenes.image(record))
            return result
        if "pan_seg_file_name" not in record:
            raise UserError(
                f"The record of {record['file_name']} has no pan_seg_file_name: Panoptic-DeepLab "
                "learns from joint panoptic data sets, such as coco_2017_train_panoptic, not from "
                "their _separated variants."
            )
        scene = self.scenes(record)
        del result["pan_seg_file_name"]
        result["image"] = as_tensor(scene.image)
        result["segments_info"] = scene.segments
        if self.targets_on_device:
            return result | {"panoptic_ids": torch.from_numpy(scene.ids)}
        return result | self.generate_targets(scene.ids, scene.segments)
