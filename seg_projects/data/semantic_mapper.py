"""The mapper of semantic segmentation: from a record with a label map to image and labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from seg_projects.data.augmentation import Step, build_augmentations, split_steps
from seg_projects.data.images import as_tensor, read_image
from seg_projects.data.label_maps import IGNORED, read_label_map
from seg_projects.errors import UserError


class SemanticMapper:
    """Turns a record of a data set of label maps into a training or test input."""

    labelled_by = "label maps"

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[Step],
        image_format: str,
        label_table: np.ndarray,
        ignore_value: int,
    ) -> None:
        """Takes the table of the data set's metadata.

        Args:
            is_train: False gives the image alone, in the size that the model is tested with.
            augmentations: applied in this order to image and labels.
            image_format: channel order of ``image``, as in ``cfg.INPUT.FORMAT``.
            label_table: value in the file -> class, see :func:`class_table`.
            ignore_value: label that the model does not learn from.
        """
        self.is_train = is_train
        pipeline = split_steps(augmentations)
        if pipeline.copy_paste is not None:
            raise self.no_objects()
        self.augmentations, self.needs_labels = pipeline.each, pipeline.needs_labels
        self.image_format = image_format
        self.label_table = label_table
        self.ignore_value = ignore_value

    @classmethod
    def no_objects(cls) -> UserError:
        """What is wrong with pasting objects."""
        return UserError(
            f"copy_paste moves objects, and a data set of {cls.labelled_by} has none: leave it out "
            "of INPUT.AUGMENTATIONS."
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train, crop_after_resize=True),
            "image_format": cfg.INPUT.FORMAT,
            "label_table": MetadataCatalog.get(names[0]).label_table,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with ``image`` (C, H, W) uint8 and, in training, ``sem_seg`` (H, W) int64."""
        record = copy.copy(record)
        image = read_image(record["file_name"], self.image_format)
        utils.check_image_size(record, image)
        if self.is_train:
            image, record["sem_seg"] = self._augmented(record, image)
        else:
            inputs = T.AugInput(image)
            self.augmentations(inputs)
            image = inputs.image
        record["image"] = as_tensor(image)
        return record

    def _augmented(self, record: dict[str, Any], image: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """The augmented (H, W, C) image, and the target that lies upon it."""
        labels = read_label_map(record["sem_seg_file_name"], self.label_table)
        if labels.shape != image.shape[:2]:
            raise UserError(
                f"{record['sem_seg_file_name']} has the size {labels.shape}, its image "
                f"{record['file_name']} {image.shape[:2]}, as (height, width)."
            )
        inputs = T.AugInput(image, sem_seg=labels)
        self.augmentations(inputs)
        moved = torch.from_numpy(np.array(inputs.sem_seg, dtype=np.int64))
        return inputs.image, moved.masked_fill(moved == IGNORED, self.ignore_value)
