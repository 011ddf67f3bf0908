"""Mappers and loaders as a config chooses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.utils import comm
from seg_projects.data.augmentation import has_copy_paste
from seg_projects.data.class_mask_mapper import ClassMaskMapper
from seg_projects.data.instance_mapper import InstanceMapper
from seg_projects.data.panoptic_deeplab_mapper import PanopticDeepLabMapper
from seg_projects.data.panoptic_mapper import PanopticMapper
from seg_projects.data.resuming import ResumableLoader, ResumableSampler, by_orientation
from seg_projects.data.sampling import build_train_sampler
from seg_projects.data.semantic_mapper import SemanticMapper
from seg_projects.deeplab_config import needs_joint_classes

# Kinds of Detectron2's data sets whose records have annotations of instances.
WITH_ANNOTATIONS = ("coco", "coco_panoptic_seg", "lvis", "cityscapes_instance")


def mapper_class(cfg: CfgNode, dataset_name: str) -> Callable[..., Any] | None:
    """Our mapper of the records of a data set; None where they are for Detectron2's."""
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    ours: dict[str | None, Callable[..., Any]] = {
        "panoptic": PanopticMapper,
        "label_maps": SemanticMapper,
        "class_masks": ClassMaskMapper,
        "instances": InstanceMapper,
    }
    if kind in ours:
        return ours[kind]
    # Detectron2's own data sets go through its own mapper, as long as that can do it.
    return InstanceMapper if cfg.INPUT.AUGMENTATIONS and kind in WITH_ANNOTATIONS else None


def train_mapper_class(cfg: CfgNode) -> Callable[..., Any] | None:
    """The mapper of the training; Panoptic-DeepLab has one of its own."""
    if needs_joint_classes(cfg):
        return PanopticDeepLabMapper
    return mapper_class(cfg, cfg.DATASETS.TRAIN[0])


def build_train_mapper(
    cfg: CfgNode, mapper: Callable[..., Any], records: Sequence[dict[str, Any]]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The ``mapper`` of the training; it may paste objects of ``records``.

    Raises:
        UserError: the config asks for an augmentation that does not go with the data set.
    """
    if not has_copy_paste(cfg):
        return mapper(cfg, is_train=True)
    for of_pixels in (SemanticMapper, ClassMaskMapper):
        if mapper is of_pixels:
            raise of_pixels.no_objects()
    return mapper(cfg, is_train=True, partners=records)


def build_train_loader(cfg: CfgNode, mapper: Callable[..., Any]) -> Iterable[list[dict[str, Any]]]:
    """Detectron2's training loader of ``DATASETS.TRAIN`` through ``mapper``, a class of ours."""
    records = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    # Serialised once: workers, and the mapper that pastes, share the one buffer.
    dataset = DatasetFromList(records, copy=False)
    sampler = build_train_sampler(cfg, records)
    if sampler is not None:
        grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING
        sampler = ResumableSampler(
            sampler,
            batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
            groups=by_orientation(records) if grouped else None,
        )
    loader = build_detection_train_loader(
        cfg,
        dataset=dataset,
        mapper=build_train_mapper(cfg, mapper, dataset),
        sampler=sampler,
    )
    return loader if sampler is None else ResumableLoader(loader, sampler)


def build_test_loader(
    cfg: CfgNode, dataset_name: str, mapper: Callable[..., Any]
) -> Iterable[list[dict[str, Any]]]:
    """Detectron2's test loader of one data set through ``mapper``, a class of ours."""
    return build_detection_test_loader(cfg, dataset_name, mapper=mapper(cfg, is_train=False))
