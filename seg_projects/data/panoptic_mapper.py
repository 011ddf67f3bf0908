"""The mapper of Panoptic FPN: from a panoptic record to image, instances and semantic labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.structures import BitMasks, Boxes, Instances
from seg_projects.data.augmentation import Step, build_augmentations
from seg_projects.data.images import as_tensor
from seg_projects.data.panoptic_ids import boxes_of_index, index_ids, semantic_labels
from seg_projects.data.panoptic_scenes import PanopticScene, PanopticScenes


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
        augmentations: Sequence[Step],
        image_format: str,
        thing_ids: dict[int, int],
        stuff_ids: dict[int, int],
        ignore_label: int,
        partners: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Takes the category maps of the data sets' metadata.

        Args:
            is_train: False gives the image alone, in the size that the model is tested with.
            augmentations: applied in this order, see ``build_augmentations``.
            image_format: channel order of ``image``, as in ``cfg.INPUT.FORMAT``.
            thing_ids: category id -> contiguous id of things.
            stuff_ids: category id -> semantic label of stuff.
            ignore_label: semantic label of void.
            partners: records that ``copy_paste`` takes objects from.
        """
        self.is_train = is_train
        self.scenes = PanopticScenes(
            augmentations, image_format=image_format, thing_ids=thing_ids, partners=partners
        )
        self.thing_ids, self.stuff_ids, self.ignore_label = thing_ids, stuff_ids, ignore_label

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        metadata = MetadataCatalog.get(names[0])
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "thing_ids": metadata.thing_dataset_id_to_contiguous_id,
            "stuff_ids": metadata.stuff_dataset_id_to_contiguous_id,
            "ignore_label": metadata.ignore_label,
        }

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with ``image`` (C, H, W) and, in training, its targets.

        The image is uint8, or float32 in [0, 255] of a 16-bit file. The targets are ``instances``
        (``gt_boxes``, ``gt_classes``, ``gt_masks``) and ``sem_seg`` (H, W) int64. The record
        itself is left as it is.
        """
        result = copy.copy(record)
        if not self.is_train:
            result["image"] = as_tensor(self.scenes.image(record))
            return result
        scene = self.scenes(record)
        del result["segments_info"]
        result["image"] = as_tensor(scene.image)
        result["instances"] = self._instances(scene)
        labels = semantic_labels(
            scene.ids,
            scene.segments,
            self.thing_ids,
            self.stuff_ids,
            ignore_label=self.ignore_label,
        )
        result["sem_seg"] = torch.from_numpy(labels)
        return result

    def _instances(self, scene: PanopticScene) -> Instances:
        things = [
            s
            for s in scene.segments
            if s["category_id"] in self.thing_ids and not s.get("iscrowd", 0)
        ]
        index = index_ids(scene.ids, [s["id"] for s in things])
        numbers = np.arange(1, len(things) + 1, dtype=np.int32)
        instances = Instances(scene.ids.shape)
        classes = [self.thing_ids[s["category_id"]] for s in things]
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        instances.gt_masks = BitMasks(torch.from_numpy(index == numbers[:, None, None]))
        instances.gt_boxes = Boxes(torch.from_numpy(boxes_of_index(index, len(things))))
        return instances
