"""Sampling that shows images with rare classes more often, for every kind of data set."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from seg_projects.data.class_masks import read_class_masks
from seg_projects.data.label_maps import IGNORED, read_label_map
from seg_projects.errors import UserError

Records = Sequence[dict[str, Any]]


def build_train_sampler(cfg: CfgNode, records: Records) -> Sampler | None:
    """Detectron2's sampler of the name ``DATALOADER.SAMPLER_TRAIN``.

    With ``RepeatFactorTrainingSampler``, an image is shown max(1, sqrt(t / f)) times an epoch on
    average (arXiv:1908.03195), where f is the share of images with its rarest class and t is
    ``DATALOADER.REPEAT_THRESHOLD``. Detectron2 itself knows the classes of annotations alone; here,
    those of segments, label maps and masks of classes (read once, at the start) count too.

    Returns:
        None for samplers other than that and ``TrainingSampler``, which Detectron2 builds.
    """
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        return TrainingSampler(len(records), seed=cfg.SEED)  # -1 is a seed, too, as Detectron2's
    if cfg.DATALOADER.SAMPLER_TRAIN != "RepeatFactorTrainingSampler":
        return None
    table = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("label_table")
    classes = classes_of_images(records, table)
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        [{"annotations": [{"category_id": c} for c in found]} for found in classes],
        cfg.DATALOADER.REPEAT_THRESHOLD,
        sqrt=cfg.DATALOADER.REPEAT_SQRT,
    )
    return RepeatFactorTrainingSampler(factors, seed=cfg.SEED if cfg.SEED >= 0 else None)


def classes_of_images(records: Records, label_table: np.ndarray | None) -> list[set[int]]:
    """The classes that occur in each image, crowds left out.

    Args:
        records: with ``annotations``, ``segments_info``, ``sem_seg_file_name`` or
            ``class_mask_file_names``.
        label_table: value in the file -> class, of data sets of label maps; or -> 0, 1 or ignored,
            of those of masks of classes.

    Raises:
        UserError: a record has none of the four.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda record: _classes(record, label_table), records))


def _classes(record: dict[str, Any], label_table: np.ndarray | None) -> set[int]:
    for key in ("annotations", "segments_info"):
        if key in record:
            return {o["category_id"] for o in record[key] if not o.get("iscrowd", 0)}
    if "class_mask_file_names" in record and label_table is not None:
        planes = read_class_masks(record, label_table)
        return set((planes == 1).any(axis=(1, 2)).nonzero()[0].tolist())
    if "sem_seg_file_name" not in record or label_table is None:
        raise UserError(
            f"The record of {record['file_name']} names no classes, so its images cannot be "
            "repeated by class: set DATALOADER.SAMPLER_TRAIN to TrainingSampler."
        )
    counts = np.bincount(read_label_map(record["sem_seg_file_name"], label_table).ravel())
    return set(counts[:IGNORED].nonzero()[0].tolist())
