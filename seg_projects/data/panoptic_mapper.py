"""The mapper of Panoptic FPN: from a panoptic record to image, instances and semantic labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from seg_projects.data.panoptic_ids import ids_from_rgb, read_panoptic_rgb, semantic_labels
from seg_projects.errors import UserError


class PanopticMapper:
    """Turns a panoptic record into a training or test input of :class:`SegPanopticFPN`.

    Everything comes from the id PNG: the instances (bit masks, boxes around them) are its thing
    segments without crowds, the semantic labels its stuff segments, with 0 on all things and
    ``ignore_label`` on void. Image and ids go through the same augmentations.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        thing_ids: dict[int, int],
        stuff_ids: dict[int, int],
        ignore_label: int,
    ) -> None:
        """Takes the category maps of the data sets' metadata.

        Args:
            is_train: False gives the image alone, in the size that the model is tested with.
            augmentations: applied in this order to image and ids.
            image_format: channel order of ``image``, as in ``cfg.INPUT.FORMAT``.
            thing_ids: category id of the file -> class in [0, T).
            stuff_ids: category id of the file -> semantic label in [1, S].
            ignore_label: semantic label of void pixels.
        """
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.thing_ids = thing_ids
        self.stuff_ids = stuff_ids
        self.ignore_label = ignore_label

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        metadata = MetadataCatalog.get(names[0])
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "thing_ids": metadata.thing_dataset_id_to_contiguous_id,
            "stuff_ids": metadata.stuff_dataset_id_to_contiguous_id,
            "ignore_label": metadata.ignore_label,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with ``image`` (3, H, W) uint8 and, in training, its targets.

        The targets are ``instances`` (``gt_boxes``, ``gt_classes``, ``gt_masks``) and ``sem_seg``
        (H, W) int64. The record itself is left as it is.
        """
        record = copy.copy(record)
        image = utils.read_image(record["file_name"], format=self.image_format)
        utils.check_image_size(record, image)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image.transpose(2, 0, 1).copy()
        record["image"] = torch.from_numpy(image)
        if not self.is_train:
            return record
        rgb = read_panoptic_rgb(record["pan_seg_file_name"])
        if rgb.shape[:2] != (record["height"], record["width"]):
            raise UserError(
                f"{record['pan_seg_file_name']} has the size {rgb.shape[:2]}, its image "
                f"{record['file_name']} {(record['height'], record['width'])}, as (height, width)."
            )
        # As three bytes, because every transform can move those exactly.
        ids = ids_from_rgb(transforms.apply_segmentation(rgb))
        segments = record.pop("segments_info")
        record["instances"] = self._instances(ids, segments)
        labels = semantic_labels(
            ids, segments, self.thing_ids, self.stuff_ids, ignore_label=self.ignore_label
        )
        record["sem_seg"] = torch.from_numpy(labels)
        return record

    def _instances(self, ids: np.ndarray, segments: list[dict[str, Any]]) -> Instances:
        things = [
            s for s in segments if s["category_id"] in self.thing_ids and not s.get("iscrowd", 0)
        ]
        present = np.unique(ids)
        things = [s for s in things if s["id"] in present]
        wanted = np.array([s["id"] for s in things], dtype=np.int32)
        masks = BitMasks(torch.from_numpy(ids[None] == wanted[:, None, None]))
        instances = Instances(ids.shape)
        classes = [self.thing_ids[s["category_id"]] for s in things]
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        instances.gt_masks = masks
        instances.gt_boxes = masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)
