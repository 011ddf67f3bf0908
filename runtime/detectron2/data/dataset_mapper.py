"""From a record of a data set to the input of a model."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

__all__ = ["DatasetMapper"]

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Reads the image of a record, augments it, and makes tensors of it and its annotations.

    The record has Detectron2's standard form. The result is a copy of it with ``image``, a
    (C, H, W) tensor, and where the record has them ``sem_seg``, (H, W) int64, ``proposals`` and, in
    training, ``instances`` in the place of ``annotations``.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        """Stores what to do.

        Args:
            is_train: whether the annotations become ``instances``; else they are dropped.
            augmentations: applied to the image and all that belongs to it, in order.
            image_format: see :func:`~detectron2.data.detection_utils.read_image`.
            use_instance_mask: whether to keep the instances' masks.
            use_keypoint: must be False: keypoints are not supported.
            instance_mask_format: ``"polygon"`` or ``"bitmask"``.
            keypoint_hflip_indices: must be None.
            precomputed_proposal_topk: how many precomputed proposals to keep; None for none.
            recompute_boxes: whether to take the boxes from the transformed masks, which is exact
                after crops and rotations.
        """
        if use_keypoint or keypoint_hflip_indices is not None:
            raise NotImplementedError("keypoints are not supported: set MODEL.KEYPOINT_ON False")
        if recompute_boxes and not use_instance_mask:
            raise ValueError("recompute_boxes=True takes boxes from masks: set use_instance_mask")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        purpose = "training" if is_train else "inference"
        logger.info("Augmentations used in %s: %s", purpose, augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Reads the arguments of the constructor."""
        augmentations = utils.build_augmentation(cfg, is_train)
        crops = is_train and cfg.INPUT.CROP.ENABLED
        if crops:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        topk = None
        if cfg.MODEL.LOAD_PROPOSALS:
            kind = "TRAIN" if is_train else "TEST"
            topk = cfg.DATASETS[f"PRECOMPUTED_PROPOSAL_TOPK_{kind}"]
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "precomputed_proposal_topk": topk,
            "recompute_boxes": crops and cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """The model's input for one record, which stays as it is."""
        record = _copied(dataset_dict)
        image = utils.read_image(record["file_name"], format=self.image_format)
        utils.check_image_size(record, image)
        inputs = T.AugInput(image, sem_seg=_read_sem_seg(record, image))
        transforms = self.augmentations(inputs)

        image_shape = (inputs.image.shape[0], inputs.image.shape[1])
        record["image"] = torch.from_numpy(_channels_first(inputs.image))
        if inputs.sem_seg is not None:
            record["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64))
        if self.proposal_topk is not None:
            utils.transform_proposals(
                record, image_shape, transforms, proposal_topk=self.proposal_topk
            )
        if not self.is_train:
            record.pop("annotations", None)
        elif "annotations" in record:
            _check_mask_sizes(record, image.shape[:2])
            self._transform_annotations(record, transforms, image_shape)
        return record

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.Transform,
        image_shape: tuple[int, int],
    ) -> None:
        """Replaces ``annotations`` by ``instances``, in place."""
        annotations = [a for a in dataset_dict.pop("annotations") if not a.get("iscrowd", 0)]
        for annotation in annotations:
            annotation.pop("keypoints", None)
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            utils.transform_instance_annotations(annotation, transforms, image_shape)
        instances = utils.annotations_to_instances(
            annotations, image_shape, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = utils.filter_empty_instances(instances)


def _copied(record: dict[str, Any]) -> dict[str, Any]:
    """A copy to write into; masks and polygons, which are replaced as a whole, are shared."""
    copied = {k: copy.deepcopy(v) for k, v in record.items() if k != "annotations"}
    if "annotations" in record:
        copied["annotations"] = [dict(annotation) for annotation in record["annotations"]]
    return copied


def _read_sem_seg(record: dict[str, Any], image: np.ndarray) -> np.ndarray | None:
    """The (H, W) labels of the file that the record names, if it does; the name is removed."""
    if "sem_seg_file_name" not in record:
        return None
    path = record.pop("sem_seg_file_name")
    labels = utils.read_image(path, "L").squeeze(2)
    if labels.shape != image.shape[:2]:
        raise utils.SizeMismatchError(
            f"the labels {path!r} have {labels.shape} pixels (height, width), their image "
            f"{record['file_name']!r} has {image.shape[:2]}"
        )
    return labels


def _check_mask_sizes(record: dict[str, Any], size: tuple[int, ...]) -> None:
    """Raises where a mask in RLE is not of the image's size."""
    for annotation in record["annotations"]:
        mask = annotation.get("segmentation")
        if isinstance(mask, dict) and tuple(mask["size"]) != size:
            raise utils.SizeMismatchError(
                f"a mask has {tuple(mask['size'])} pixels (height, width), its image "
                f"{record['file_name']!r} has {size}"
            )


def _channels_first(image: np.ndarray) -> np.ndarray:
    """A contiguous (C, H, W) copy of (H, W, C), or (1, H, W) of (H, W)."""
    if image.ndim == 2:
        return image[None].copy()
    # What a flip left is a view with columns in reverse.
    mirrored = image.strides[1] < 0
    upright = image[:, ::-1] if mirrored else image
    if not upright.flags.c_contiguous or image.shape[2] == 1:
        return image.transpose(2, 0, 1).copy()
    import cv2  # which does it several times faster than numpy

    planes = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(upright, list(planes))
    if mirrored:
        for plane in planes:
            cv2.flip(plane, 1, plane)
    return planes
