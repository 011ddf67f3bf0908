"""Data loaders from configs, from lists and from data sets."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch.utils import data
from torch.utils.data.sampler import Sampler

from detectron2.config import CfgNode, configurable
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.structures import BoxMode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_first_n
from detectron2.utils.safe_pickle import load_pickle

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
]

logger = logging.getLogger(__name__)

Records = list[dict[str, Any]]


def filter_images_with_only_crowd_annotations(dataset_dicts: Records) -> Records:
    """The records that have at least one annotation which is no crowd."""
    kept = [
        record
        for record in dataset_dicts
        if any(not annotation.get("iscrowd", 0) for annotation in record["annotations"])
    ]
    removed = len(dataset_dicts) - len(kept)
    logger.info("Removed %d images with no usable annotations. %d images left.", removed, len(kept))
    return kept


def load_proposals_into_dataset(dataset_dicts: Records, proposal_file: str) -> Records:
    """Adds precomputed proposals, sorted by score, to the records that they belong to.

    Args:
        dataset_dicts: records with ``image_id``; changed in place.
        proposal_file: a pickle of a dict with ``ids`` (image ids), ``boxes`` (arrays (N, 4)),
            ``objectness_logits`` (arrays (N,)) and perhaps ``bbox_mode``, XYXY_ABS without it.

    Returns:
        The records, with ``proposal_boxes``, ``proposal_objectness_logits``,
        ``proposal_bbox_mode``.
    """
    logger.info("Loading proposals from: %s", proposal_file)
    with PathManager.open(proposal_file, "rb") as file:
        proposals = load_pickle(
            file, encoding="latin1", extra_globals={("detectron2.structures.boxes", "BoxMode"): int}
        )
    # Names in files of Detectron, the first one.
    for old, new in {"indexes": "ids", "scores": "objectness_logits"}.items():
        if old in proposals:
            proposals[new] = proposals.pop(old)
    mode = BoxMode(proposals.get("bbox_mode", BoxMode.XYXY_ABS))
    position = {str(image_id): index for index, image_id in enumerate(proposals["ids"])}
    for record in dataset_dicts:
        index = position.get(str(record["image_id"]))
        if index is None:
            raise KeyError(f"{proposal_file} has no proposals of image {record['image_id']!r}")
        logits = proposals["objectness_logits"][index]
        order = logits.argsort()[::-1]
        record["proposal_boxes"] = proposals["boxes"][index][order]
        record["proposal_objectness_logits"] = logits[order]
        record["proposal_bbox_mode"] = mode
    return dataset_dicts


def print_instances_class_histogram(dataset_dicts: Records, class_names: Sequence[str]) -> None:
    """Logs how many instances, without crowds, each class has."""
    from tabulate import tabulate
    from termcolor import colored

    num_classes = len(class_names)
    counts = np.zeros(num_classes, dtype=np.int64)
    for record in dataset_dicts:
        classes = [a["category_id"] for a in record["annotations"] if not a.get("iscrowd", 0)]
        _check_categories(record, classes, num_classes)
        counts += np.bincount(np.asarray(classes, dtype=np.int64), minlength=num_classes)

    cells: list[Any] = list(
        itertools.chain.from_iterable(
            (_shortened(name), int(count)) for name, count in zip(class_names, counts, strict=True)
        )
    )
    columns = min(6, num_classes * 2)
    cells += [None] * (-len(cells) % columns)
    if num_classes > 1:
        cells += ["total", int(counts.sum())]
    table = tabulate(
        [cells[start : start + columns] for start in range(0, len(cells), columns)],
        headers=["category", "#instances"] * (columns // 2),
        tablefmt="pipe",
        numalign="left",
        stralign="center",
    )
    log_first_n(
        logging.INFO,
        f"Distribution of instances among all {num_classes} categories:\n" + colored(table, "cyan"),
        key="message",
    )


def _check_categories(record: dict[str, Any], classes: list[int], num_classes: int) -> None:
    for category in classes:
        if not 0 <= category < num_classes:
            raise ValueError(
                f"category_id={category} in the annotations of {record.get('file_name')!r}: the "
                f"metadata names {num_classes} classes, so that ids are in [0, {num_classes})"
            )


def _shortened(name: str) -> str:
    return name[:11] + ".." if len(name) > 13 else name


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> Any:
    """The records of one or several registered data sets.

    Args:
        names: of the data sets.
        filter_empty: whether to leave out images without annotations, or with crowds only.
        min_keypoints: must be 0: keypoints are not supported.
        proposal_files: precomputed proposals, one file per data set.
        check_consistency: whether to check that the data sets have the same classes, and to log
            their histogram.

    Returns:
        A list of records, or where ``torch.utils.data.Dataset`` are registered, such a data set.
    """
    names = [names] if isinstance(names, str) else names
    if not names:
        raise ValueError(f"no data set is named ({names!r}): set DATASETS.TRAIN or DATASETS.TEST")
    if min_keypoints > 0:
        raise NotImplementedError(f"min_keypoints={min_keypoints}: keypoints are not supported")
    datasets = [DatasetCatalog.get(name) for name in names]
    if isinstance(datasets[0], data.Dataset):
        return data.ConcatDataset(datasets) if len(datasets) > 1 else datasets[0]
    records = _concatenated(names, datasets, proposal_files)
    if "annotations" in records[0]:
        if filter_empty:
            records = filter_images_with_only_crowd_annotations(records)
        if check_consistency:
            _check_classes(records, names)
    if not records:
        raise ValueError(
            f"No valid data found in {','.join(names)}: no image has an annotation that is no "
            "crowd. To use them, set DATALOADER.FILTER_EMPTY_ANNOTATIONS False."
        )
    return records


def _concatenated(
    names: Sequence[str], datasets: list[Records], proposal_files: Sequence[str] | None
) -> Records:
    """The records of all data sets, none of which may be empty, with their proposals."""
    for name, records in zip(names, datasets, strict=True):
        if not records:
            raise ValueError(f"Dataset {name!r} is empty! Check the paths it was registered with.")
    if proposal_files is not None:
        if len(proposal_files) != len(names):
            raise ValueError(f"{len(proposal_files)} proposal files for {len(names)} data sets")
        datasets = list(map(load_proposals_into_dataset, datasets, proposal_files))
    return list(itertools.chain.from_iterable(datasets))


def _check_classes(records: Records, names: Sequence[str]) -> None:
    """Checks the classes and logs their histogram, where the metadata names them."""
    class_names = MetadataCatalog.get(names[0]).get("thing_classes")
    if class_names is None:
        return
    check_metadata_consistency("thing_classes", names)
    print_instances_class_histogram(records, class_names)


def build_batch_data_loader(
    dataset: Any,
    sampler: Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    prefetch_factor: int = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """A loader of batches for training.

    Args:
        dataset: map-style, or iterable.
        sampler: of a map-style data set; None for an iterable one.
        total_batch_size: over all processes, which must divide it.
        aspect_ratio_grouping: whether batches hold only wide or only high images; elements must
            then have ``width`` and ``height``.
        num_workers: number of loading processes per process.
        collate_fn: makes a batch of a list of elements; None leaves the list.
        drop_last: whether to drop an incomplete last batch.
        single_gpu_batch_size: per process, instead of ``total_batch_size``.
        prefetch_factor: number of batches that each worker prepares ahead.
        persistent_workers: whether workers outlive the iterator.
        pin_memory: whether to copy tensors to pinned memory.
        seed: of the loader's generator, which seeds the workers.
        **kwargs: further arguments of ``DataLoader``.
    """
    batch_size = _local_batch_size(total_batch_size, single_gpu_batch_size)
    logger.info("Making batched data loader with batch_size=%d", batch_size)
    if isinstance(dataset, data.IterableDataset):
        assert sampler is None, "sampler must be None if dataset is IterableDataset"
    else:
        assert sampler is not None, "a map-style data set needs a sampler"
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "worker_init_fn": worker_init_reset_seed,
        "prefetch_factor": prefetch_factor if num_workers > 0 else None,
        "persistent_workers": persistent_workers,
        "pin_memory": pin_memory,
        "generator": None if seed is None else torch.Generator().manual_seed(seed),
        **kwargs,
    }
    if not aspect_ratio_grouping:
        collate_fn = collate_fn or trivial_batch_collator
        return data.DataLoader(
            dataset, batch_size=batch_size, drop_last=drop_last, collate_fn=collate_fn, **options
        )
    assert drop_last, "Aspect ratio grouping will drop incomplete batches."
    single = data.DataLoader(dataset, collate_fn=itemgetter(0), **options)
    grouped = AspectRatioGroupedDataset(single, batch_size)
    return grouped if collate_fn is None else MapDataset(grouped, collate_fn)


def _local_batch_size(total: int | None, single: int | None) -> int:
    """The batch size of this process."""
    if single:
        if total:
            raise ValueError(
                f"total_batch_size={total} and single_gpu_batch_size={single} are mutually "
                "incompatible. Please specify only one."
            )
        return single
    world_size = comm.get_world_size()
    if not total or total < 0 or total % world_size:
        raise ValueError(
            f"Total batch size ({total}) must be divisible by the number of gpus ({world_size}) "
            "and positive: set SOLVER.IMS_PER_BATCH."
        )
    return total // world_size


def _train_loader_from_config(
    cfg: CfgNode,
    mapper: Callable[[dict[str, Any]], Any] | None = None,
    *,
    dataset: Any = None,
    sampler: Sampler | None = None,
) -> dict[str, Any]:
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            proposal_files=(
                cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None
            ),
        )
    if sampler is None and not isinstance(dataset, data.IterableDataset):
        sampler = _train_sampler_from_config(cfg, dataset)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": _default_mapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


def _default_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper:
    make: Callable[..., DatasetMapper] = DatasetMapper  # configurable: it takes a config, too
    return make(cfg, is_train)


def _train_sampler_from_config(cfg: CfgNode, dataset: Any) -> Sampler:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    logger.info("Using training sampler %s", name)
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=cfg.SEED)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors, seed=cfg.SEED)
    if name == "RandomSubsetTrainingSampler":
        return RandomSubsetTrainingSampler(len(dataset), cfg.DATALOADER.RANDOM_SUBSET_RATIO)
    raise ValueError(
        f"Unknown training sampler: DATALOADER.SAMPLER_TRAIN={name!r} is none of TrainingSampler, "
        "RepeatFactorTrainingSampler, RandomSubsetTrainingSampler"
    )


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Any,
    *,
    mapper: Callable[[Any], Any] | None,
    sampler: Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """The loader of a training: an endless stream of batches. Takes a config or these arguments.

    Args:
        dataset: a list of records, or a data set, map-style or iterable.
        mapper: makes the model's input of a record; None for the records themselves.
        sampler: of a map-style data set; a ``TrainingSampler`` if None.
        total_batch_size: over all processes.
        aspect_ratio_grouping: see :func:`build_batch_data_loader`.
        num_workers: see :func:`build_batch_data_loader`.
        collate_fn: see :func:`build_batch_data_loader`.
        **kwargs: further arguments of :func:`build_batch_data_loader`.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if isinstance(dataset, data.IterableDataset):
        assert sampler is None, "sampler must be None if dataset is IterableDataset"
    else:
        sampler = TrainingSampler(len(dataset)) if sampler is None else sampler
        assert isinstance(sampler, Sampler), f"Expect a Sampler but got {type(sampler)}"
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: CfgNode,
    dataset_name: str | Sequence[str],
    mapper: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    names = [dataset_name] if isinstance(dataset_name, str) else dataset_name
    files = None
    if cfg.MODEL.LOAD_PROPOSALS:
        of_dataset = dict(zip(cfg.DATASETS.TEST, cfg.DATASETS.PROPOSAL_FILES_TEST, strict=True))
        files = [of_dataset[name] for name in names]
    return {
        "dataset": get_detection_dataset_dicts(names, filter_empty=False, proposal_files=files),
        "mapper": _default_mapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: list[Any] | data.Dataset,
    *,
    mapper: Callable[[Any], Any] | None,
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> data.DataLoader:
    """The loader of an evaluation: all elements once. Takes a config and a name, or these.

    Args:
        dataset: a list of records, or a data set, map-style or iterable.
        mapper: makes the model's input of a record; None for the records themselves.
        sampler: of a map-style data set; an ``InferenceSampler`` if None.
        batch_size: per process.
        num_workers: number of loading processes.
        collate_fn: makes a batch of a list of elements; None leaves the list.
    """
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if mapper is not None:
        dataset = MapDataset(dataset, mapper)
    if isinstance(dataset, data.IterableDataset):
        assert sampler is None, "sampler must be None if dataset is IterableDataset"
    elif sampler is None:
        sampler = InferenceSampler(len(dataset))
    return data.DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=False,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator if collate_fn is None else collate_fn,
    )


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """The list itself."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seeds numpy, torch and random of a worker from the seed that its loader gave torch."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
